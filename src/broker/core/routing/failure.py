"""Why nobody can receive a message."""

from enum import StrEnum


class FailureReason(StrEnum):
    """Why nobody can receive a message. These codes are stable."""

    NO_AGENT_ONLINE = "no_agent_online"
    ONLY_SENDER_ONLINE = "only_sender_online"
    RECEIVER_OFFLINE = "receiver_offline"
    NO_CAPABLE_AGENT = "no_capable_agent"
