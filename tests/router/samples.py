"""Names of queues, and what arrives through them."""

import json
from typing import Any

from broker.router.rules import Topology

QUEUES = Topology(
    inputs=("in",),
    outputs=("out",),
    metadata="meta",
    advertisement="advert",
    dead_letter="dead",
    registry_exchange="events",
)
AGENT_REGISTERED = (
    b'{"message_type":"AGENT_REGISTERED","agent_id":"a","agent_name":"A",'
    b'"changed_at":1000000,"origin":"x"}'
)


def chat(sender_id: str | None = "alice", **fields: Any) -> bytes:
    """Write a chat message; `None` leaves the sender out."""
    sender = {} if sender_id is None else {"sender_id": sender_id}
    message = {"message_type": "TEXT", "message_id": "m1", **sender, "text_payload": "hi", **fields}
    return json.dumps(message, separators=(",", ":")).encode()
