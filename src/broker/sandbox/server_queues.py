"""The AMQP half of a stand-in central server: it speaks to the broker through queues.

What the broker routed goes on to the queue of the agent that was chosen. A message is acknowledged
only when RabbitMQ confirmed what comes of it, so nothing is lost on the way.

`relay` raises `AmqpError` when the session is lost.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import trio

from broker.amqp import Deliveries, Delivery, Publishing, Session, Settlement
from broker.core.lone_surrogates import mask_lone_surrogates, show_lone_surrogates
from broker.core.messages import UNKNOWN_SENDER

INPUT_QUEUE = "broker_input_queue"
OUTPUT_QUEUE = "broker_output_queue"
METADATA_QUEUE = "agent_metadata_queue"
ADVERTISEMENT_QUEUE = "server_advertisement_queue"
DEAD_LETTER_QUEUE = "broker_dead_letter_queue"
UNKNOWN_QUEUE = "central_server_unknown_queue"
"""Where the server keeps what it does not know what to do with."""
QUEUES = (
    INPUT_QUEUE,
    OUTPUT_QUEUE,
    METADATA_QUEUE,
    ADVERTISEMENT_QUEUE,
    DEAD_LETTER_QUEUE,
    UNKNOWN_QUEUE,
)

SERVER_ID = "sandbox-server"
_AGENT_QUEUE = "agent_queue_"
_MAX_QUEUE_LENGTH = 255
_IN_QUEUE_NAME = re.compile(r"[a-zA-Z0-9\-_.:@#,/+ ]+")
"""What aiormq accepts in the name of a queue that it declares."""


class FromBroker(msgspec.Struct, frozen=True):
    """What the server and agents read of a message from the broker; the rest passes unread.

    Nothing is set when the body is no such message at all.
    """

    message_type: str | None = None
    message_id: str | None = None
    sender_id: Any = None
    receiver_id: str | None = None
    text_payload: Any = None
    original_message_id: str | None = None
    original_sender_id: Any = None
    reason: str | None = None
    agent_id: str | None = None

    @property
    def sender(self) -> str:
        """Who sent it, or what it answers."""
        sender_id = self.sender_id if self.original_message_id is None else self.original_sender_id
        return sender_id if isinstance(sender_id, str) else UNKNOWN_SENDER

    @property
    def text(self) -> str:
        """What it says, to be shown."""
        return show_lone_surrogates(self.text_payload) if isinstance(self.text_payload, str) else ""

    @property
    def is_routed(self) -> bool:
        """Whether it is a chat message for an agent."""
        return self.message_type in {"TEXT", "REPLY", "SYSTEM"} and bool(self.receiver_id)

    @property
    def queue(self) -> str:
        """Where the server puts it, unless it is for the server."""
        return agent_queue(self.receiver_id or "") if self.is_routed else UNKNOWN_QUEUE

    @property
    def is_for_the_server(self) -> bool:
        """Whether it says something to the server itself."""
        return self.message_type in {"ERROR", "REGISTER_AGENT_RESPONSE"}


_decode = msgspec.json.Decoder(FromBroker).decode


def agent_queue(agent_id: str) -> str:
    """Return the name of the queue from which an agent reads.

    An agent whose id cannot be part of a queue's name has no queue. What is for it is kept in
    `UNKNOWN_QUEUE`, so that one strange id stops nobody else's messages.
    """
    queue = f"{_AGENT_QUEUE}{agent_id}"
    has_queue = _IN_QUEUE_NAME.fullmatch(queue) and len(queue) <= _MAX_QUEUE_LENGTH
    return queue if has_queue else UNKNOWN_QUEUE


def advertisement(websocket_url: str) -> Publishing:
    """Return the message that tells brokers where the server is."""
    return _publishing(
        ADVERTISEMENT_QUEUE,
        {
            "message_type": "SERVER_AVAILABLE",
            "server_id": SERVER_ID,
            "websocket_url": websocket_url,
            "timestamp": datetime.now(UTC).isoformat(),
        },
    )


def registration(agent_id: str, agent_name: str) -> Publishing:
    """Return the message that tells the broker that an agent is there."""
    return _publishing(
        METADATA_QUEUE,
        {
            "message_type": "REGISTER_AGENT",
            "agent_id": agent_id,
            "agent_name": agent_name,
            "capabilities": ["chat"],
            "_client_id": f"client-of-{agent_id}",
        },
    )


def disconnection(agent_id: str) -> Publishing:
    """Return the message that tells the broker that an agent is gone."""
    return _publishing(
        METADATA_QUEUE, {"message_type": "CLIENT_DISCONNECTED", "agent_id": agent_id}
    )


def answering(
    answer: Callable[[Delivery], Publishing | None],
) -> Callable[[Deliveries], None]:
    """Return a consumer that publishes what answers each delivery, if anything."""

    def take(arrived: Deliveries) -> None:
        arrived.publish([Settlement(delivery, answer(delivery)) for delivery in arrived.deliveries])

    return take


async def relay(
    session: Session,
    notice: Callable[[FromBroker], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Deliver what the broker puts out, until cancelled.

    Routed messages go on to their agents' queues as they are. What is for the server itself ends
    here, and everything else is kept in `UNKNOWN_QUEUE`.

    Args:
        notice: Is shown every message before it is passed on. Must not raise.
        task_status: Started once RabbitMQ has registered the consumer.
    """

    def passed_on(delivery: Delivery) -> Publishing | None:
        message = read(delivery.body)
        notice(message)
        if message.is_for_the_server:
            return None
        return Publishing(message.queue, delivery.body, SERVER_ID, delivery.headers)

    await session.consume(OUTPUT_QUEUE, answering(passed_on), task_status=task_status)


def read(body: bytes) -> FromBroker:
    """Read a message; of a body that is none, nothing."""
    for text in (body, mask_lone_surrogates(body)):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _decode(text)
    return FromBroker()


def _publishing(queue: str, message: dict[str, object]) -> Publishing:
    return Publishing(queue, msgspec.json.encode(message), SERVER_ID)
