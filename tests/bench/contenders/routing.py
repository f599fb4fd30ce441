"""The routing work as somebody writes it who does not think of speed."""

import json
import random
import sys
from typing import Any

from tests.bench.names import AGENTS


def route(message: dict[str, Any]) -> dict[str, Any]:
    """Choose a random agent other than the sender, and drop the server's bookkeeping."""
    sender = message.get("sender_id", "unknown")
    receiver = random.choice(AGENTS)
    while receiver == sender:
        receiver = random.choice(AGENTS)
    message["receiver_id"] = receiver
    for name in ("_client_id", "_broadcast", "_target_agent_id"):
        message.pop(name, None)
    return message


def route_body(body: bytes) -> bytes:
    """Do the same with a body."""
    return json.dumps(route(json.loads(body))).encode()


def amqp_url() -> str:
    """Return the program's one argument."""
    return sys.argv[1]
