"""The routing work as somebody writes it who does not think of speed."""

import json
import random
import sys
from typing import Any

from tests.bench.names import AGENTS


def route(message: dict[str, Any]) -> dict[str, Any]:
    sender = message.get("sender_id", "unknown")
    receiver = random.choice(AGENTS)
    while receiver == sender:
        receiver = random.choice(AGENTS)
    message["receiver_id"] = receiver
    for name in ("_client_id", "_broadcast", "_target_agent_id"):
        message.pop(name, None)
    return message


def route_body(body: bytes) -> bytes:
    return json.dumps(route(json.loads(body))).encode()


def amqp_url() -> str:
    return sys.argv[1]
