"""Messages and agents, to call a policy with."""

import json
from random import Random
from typing import Any

from broker.core.codec import decode_input
from broker.core.messages import UNKNOWN_SENDER, ChatMessage
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents

_MAX_BYTES = 1_000_000


def chat_message(**fields: Any) -> ChatMessage:
    """Return a message as the broker decodes it.

    Args:
        fields: As JSON has them. Those that a message must have need not be given.

    Raises:
        ValueError: The broker would not accept it as a chat message.
    """
    body = {"message_type": "TEXT", "message_id": "m1", "sender_id": "sender", **fields}
    message = decode_input(json.dumps(body).encode(), _MAX_BYTES)
    if not isinstance(message, ChatMessage):
        raise ValueError(f"the broker takes it for no chat message: {message}")  # noqa: TRY004
    return message


def candidates(*names: str, seed: int = 0) -> Agents:
    """Return agents that may receive a message.

    Args:
        names: Their ids and their names.
        seed: Of the chance by which some of them are chosen.
    """
    registry = AgentRegistry(max_agents=len(names))
    for name in names:
        registry.register(name, name, registry.clock.next())
    return Agents(ChatMessage("TEXT", {}, UNKNOWN_SENDER), registry, Random(seed).random)
