"""Explain what would become of a chat message now, without anything becoming of it.

The message is decided as it would be, by code that changes nothing, but for the policy: what it
would look at is noted down, and one of the user's own is not called, as that may have effects.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from broker.amqp import Delivery, Refusals
from broker.core import codec
from broker.core.agent import Agent
from broker.core.hops import HopCounter
from broker.core.messages import ChatMessage, Rejected
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from broker.core.routing.consistent_hash import ConsistentHash
from broker.core.routing.least_outstanding import LeastOutstanding
from broker.core.routing.receivers import ReceiverRule
from broker.router.choosing import Choosing
from broker.router.decide import Decider
from broker.router.explanation import Explanation, Filter, PolicyView, Problem
from broker.router.holding import Holding
from broker.router.rules import Limits, Routing, Topology
from broker.telemetry.tally import DEAD_LETTERED


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What messages are decided by. Explaining reads all of it and changes nothing."""

    topology: Topology
    registry: AgentRegistry
    hops: HopCounter
    limits: Limits
    refusals: Refusals
    choosing: Choosing
    holding: Holding


def explain(body: bytes, basis: Basis) -> Explanation:
    """Return what would become of a message from an input queue. Takes about as long as deciding.

    Args:
        body: The message, as it would be published.
    """
    view: PolicyView | None = None
    chosen: Agent | None = None

    def choose(message: ChatMessage, agents: Agents) -> Agent:
        nonlocal view, chosen
        view, chosen = _look(message, agents, basis.choosing)
        # Whatever comes of the message apart from its receiver is the same with each of them.
        return agents.random() if chosen is None else chosen

    decider = Decider(
        topology=basis.topology,
        registry=basis.registry,
        hops=basis.hops,
        broker_id="",
        limits=basis.limits,
        refusals=basis.refusals,
        routing=Routing(choose, basis.choosing.routing.receiver),
    )
    decision = decider.decide(Delivery(basis.topology.inputs[0], 0, body))
    verdict = decision.verdict
    if isinstance(verdict, Rejected):
        return Explanation(DEAD_LETTERED, reason=verdict.reason.value, error=verdict.error)
    message = codec.decode_input(body, basis.limits.max_message_bytes)
    if not isinstance(message, ChatMessage):
        return Explanation(verdict.value)
    filters = list(_filters(message, basis.registry, basis.choosing.routing.receiver))
    is_open = view is not None and chosen is None
    receiver_id = None if is_open else decision.receiver_id
    held = basis.holding.hold(None, None) if decision.receiver_id is None else None
    return Explanation(
        verdict.value,
        receiver_id,
        filters=filters,
        policy=view,
        held_seconds=None if held is None else (held.until - held.since) / 1_000,
    )


def _look(
    message: ChatMessage, agents: Agents, choosing: Choosing
) -> tuple[PolicyView, Agent | None]:
    """Return the policy's view, and which agent it would choose if that is certain."""
    name, policy = choosing.policy_name, choosing.policy
    only = next(iter(agents)) if len(agents) == 1 else None
    match policy:
        case ConsistentHash():
            key, place = policy.key(message), policy.place(message)
            view = PolicyView(name, len(agents), key=key, place=place)
            return view, policy(message, agents)
        case LeastOutstanding():
            costs = sorted(map(policy.cost_of, agents.sample(2)), key=attrgetter("cost"))
            return PolicyView(name, len(agents), compared=costs), only
    if choosing.is_own:
        return PolicyView(name, len(agents), is_known=False), None
    return PolicyView(name, len(agents)), only


def _filters(message: ChatMessage, registry: AgentRegistry, rule: ReceiverRule) -> Iterator[Filter]:
    """Yield how many agents each filter leaves. O(agents with the rarest capability)."""
    sender = registry.get(message.sender_id)
    yield Filter("online", len(registry.online))
    left = len(registry.online) - (sender is not None and sender.is_online)
    yield Filter("not_sender", left)
    # From the rarest on, so that no more agents are looked at than to decide the message.
    required = sorted(
        message.required_capabilities, key=lambda capability: len(registry.having(capability))
    )
    candidates: Sequence[Agent] = registry.having(required[0]) if required else ()
    if rule is not ReceiverRule.IGNORE and message.receiver_id:
        receiver = registry.get(message.receiver_id)
        problem = _problem(receiver, message, rule)
        if problem is None or rule is ReceiverRule.REQUIRE:
            candidates = () if receiver is None or problem is not None else (receiver,)
            left = len(candidates)
        yield Filter("receiver", left, message.receiver_id, problem)
    counts = [0] * len(required)
    for agent in candidates:
        if agent is sender:
            continue
        for place, capability in enumerate(required):
            if capability not in agent.capabilities:
                break
            counts[place] += 1
    for capability, count in zip(required, counts, strict=True):
        yield Filter("capability", count, capability)


def _problem(receiver: Agent | None, message: ChatMessage, rule: ReceiverRule) -> Problem | None:
    """Return why the agent that a message names may not receive it."""
    if receiver is None:
        return "unknown"
    if receiver.agent_id == message.sender_id:
        return "is_sender"
    if not receiver.is_online:
        return "offline"
    # One that is required is the only one left, and the filters that follow tell what it lacks.
    if rule is ReceiverRule.PREFER and not receiver.can(message.required_capabilities):
        return "not_capable"
    return None
