"""Who may receive a message: the filters, in the order in which they take effect."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial

from broker.core.agent import Agent, CapableAgent
from broker.core.messages import ChatMessage
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from broker.core.routing.failure import FailureReason


class ReceiverRule(StrEnum):
    """What the `receiver_id` of a message means before it is routed."""

    IGNORE = "ignore"
    """Nothing."""
    PREFER = "prefer"
    """That agent, if it may receive the message, or else any other."""
    REQUIRE = "require"
    """That agent or nobody."""


_IGNORE = ReceiverRule.IGNORE  # looking it up takes as long as half of a choice at random


def receivers(
    message: ChatMessage,
    registry: AgentRegistry,
    rule: ReceiverRule,
    random: Callable[[], float],
) -> Agent | Agents | FailureReason:
    """Return who may receive a message: one, or several to choose from, or why nobody may. O(1).

    Only a message that requires several capabilities takes as long as many agents have the rarest.

    Args:
        random: Returns a float in [0.0, 1.0), such as `random.random`.
    """
    find = partial(_receiver, message, registry)
    if rule is not _IGNORE and message.receiver_id:
        agent = find(message.receiver_id)
        if agent is not None:
            return agent
        if rule is ReceiverRule.REQUIRE:
            return _why_not(message, registry)
    among, left_out = _among(message, registry)
    if len(among) == (left_out is not None):
        return _why_nobody(message, registry)
    return Agents(among, left_out, find, random)


def _receiver(message: ChatMessage, registry: AgentRegistry, agent_id: str) -> Agent | None:
    # Called for each message that a policy chooses for: a property and a call less are a tenth.
    agent = registry.get(agent_id)
    if agent is None or agent.place < 0 or agent_id == message.sender_id:
        return None
    required = message.required_capabilities
    return agent if not required or agent.can(required) else None


def _among(message: ChatMessage, registry: AgentRegistry) -> tuple[Sequence[Agent], int | None]:
    """Return agents with all that the message requires, and the place of its sender in the list."""
    required = message.required_capabilities
    sender = registry.get(message.sender_id)
    if sender is not None and (sender.place < 0 or (required and not sender.can(required))):
        sender = None
    if not required:
        return registry.online, None if sender is None else sender.place
    if len(required) > 1:
        return [agent for agent in registry.having_all(required) if agent is not sender], None
    place = sender.place_having(required[0]) if isinstance(sender, CapableAgent) else None
    return registry.having(required[0]), place


def _why_not(message: ChatMessage, registry: AgentRegistry) -> FailureReason:
    """Say why the one that a message is for may not receive it."""
    agent = registry.get(message.receiver_id or "")
    if agent is None or not agent.is_online or agent.agent_id == message.sender_id:
        return FailureReason.RECEIVER_OFFLINE
    return FailureReason.NO_CAPABLE_AGENT


def _why_nobody(message: ChatMessage, registry: AgentRegistry) -> FailureReason:
    required = message.required_capabilities
    if len(registry.online) == 1:
        (only,) = registry.online
        if only.agent_id == message.sender_id and only.can(required):
            return FailureReason.ONLY_SENDER_ONLINE
    if required:
        return FailureReason.NO_CAPABLE_AGENT
    return FailureReason.NO_AGENT_ONLINE
