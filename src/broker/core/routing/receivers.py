"""Who may receive a message: the filters, in the order in which they take effect."""

from collections.abc import Callable
from enum import StrEnum

from broker.core.agent import Agent
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
    agents = Agents(message, registry, random)
    if rule is not _IGNORE and message.receiver_id:
        agent = agents.get(message.receiver_id)
        if agent is not None:
            return agent
        if rule is ReceiverRule.REQUIRE:
            return _why_not(message, registry)
    return agents or _why_nobody(message, registry)


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
