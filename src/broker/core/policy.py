"""The routing policy: choose the receiver of a chat message. No I/O."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from broker.core.messages import ChatMessage
from broker.core.registry import AgentRegistry


class FailureReason(StrEnum):
    """Why nobody can receive a message. These codes are stable."""

    NO_AGENT_ONLINE = "no_agent_online"
    ONLY_SENDER_ONLINE = "only_sender_online"


class RouteTo(msgspec.Struct, frozen=True):
    """Deliver the message to this agent."""

    receiver_id: str


class CannotRoute(msgspec.Struct, frozen=True):
    """Tell the server that nobody can receive the message."""

    reason: FailureReason


def route(
    message: ChatMessage, registry: AgentRegistry, random: Callable[[], float]
) -> RouteTo | CannotRoute:
    """Return where a chat message goes: to any agent online but its sender.

    Args:
        message: Only its sender matters.
        registry: Knows who is online.
        random: Returns a float in [0.0, 1.0), such as `random.random`.
    """
    receiver = registry.choose(message.sender_id, random)
    if receiver is not None:
        return RouteTo(receiver.agent_id)
    if registry.online_count:
        return CannotRoute(FailureReason.ONLY_SENDER_ONLINE)
    return CannotRoute(FailureReason.NO_AGENT_ONLINE)
