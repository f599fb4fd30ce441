"""The routing policy: choose the receiver of a chat message. No I/O."""

from collections.abc import Callable
from enum import StrEnum

from broker.core.registry import Agent, AgentRegistry


class FailureReason(StrEnum):
    """Why nobody can receive a message. These codes are stable."""

    NO_AGENT_ONLINE = "no_agent_online"
    ONLY_SENDER_ONLINE = "only_sender_online"


def route(
    sender_id: str, registry: AgentRegistry, random: Callable[[], float]
) -> Agent | FailureReason:
    """Choose any agent online but the sender, or return why there is none.

    Args:
        random: Returns a float in [0.0, 1.0), such as `random.random`.
    """
    receiver = registry.choose(sender_id, random)
    if receiver is not None:
        return receiver
    if registry.online_count:
        return FailureReason.ONLY_SENDER_ONLINE
    return FailureReason.NO_AGENT_ONLINE
