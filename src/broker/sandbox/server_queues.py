"""The AMQP half of a stand-in central server: it speaks to the broker through queues.

What the broker routed goes on to the queue of the agent that was chosen. A message is acknowledged
only when RabbitMQ confirmed what comes of it, so nothing is lost on the way.

What is published is confirmed on return; cancelling that ends the session. All coroutines raise
`AmqpError` when the session is lost.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import trio

from broker.amqp import Deliveries, Delivery, Publishing, Session, Settlement

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


class FromBroker(msgspec.Struct, frozen=True):
    """What the server and agents read of a message from the broker; the rest passes unread.

    Nothing is set when the body is no such message at all.
    """

    message_type: str | None = None
    message_id: str | None = None
    receiver_id: str | None = None
    original_message_id: str | None = None
    reason: str | None = None
    agent_id: str | None = None

    @property
    def is_routed(self) -> bool:
        """Whether it is a chat message for an agent."""
        return self.message_type in {"TEXT", "REPLY", "SYSTEM"} and bool(self.receiver_id)

    @property
    def is_for_the_server(self) -> bool:
        """Whether it says something to the server itself."""
        return self.message_type in {"ERROR", "REGISTER_AGENT_RESPONSE"}


_decode = msgspec.json.Decoder(FromBroker).decode


def agent_queue(agent_id: str) -> str:
    """Return the name of the queue from which an agent reads."""
    return f"agent_queue_{agent_id}"


async def advertise(session: Session, websocket_url: str) -> None:
    """Tell brokers where the server is."""
    await _publish(
        session,
        ADVERTISEMENT_QUEUE,
        {
            "message_type": "SERVER_AVAILABLE",
            "server_id": SERVER_ID,
            "websocket_url": websocket_url,
            "timestamp": datetime.now(UTC).isoformat(),
        },
    )


async def register_agent(session: Session, agent_id: str, agent_name: str) -> None:
    """Tell the broker that an agent is there."""
    await _publish(
        session,
        METADATA_QUEUE,
        {
            "message_type": "REGISTER_AGENT",
            "agent_id": agent_id,
            "agent_name": agent_name,
            "capabilities": ["chat"],
            "_client_id": f"client-of-{agent_id}",
        },
    )


async def disconnect_agent(session: Session, agent_id: str) -> None:
    """Tell the broker that an agent is gone."""
    await _publish(
        session, METADATA_QUEUE, {"message_type": "CLIENT_DISCONNECTED", "agent_id": agent_id}
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
        queue = agent_queue(message.receiver_id or "") if message.is_routed else UNKNOWN_QUEUE
        return Publishing(queue, delivery.body, SERVER_ID, delivery.headers)

    await session.consume(OUTPUT_QUEUE, answering(passed_on), task_status=task_status)


def read(body: bytes) -> FromBroker:
    """Read a message; of a body that is none, nothing."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return FromBroker()


async def _publish(session: Session, queue: str, message: dict[str, object]) -> None:
    await session.publish([Publishing(queue, msgspec.json.encode(message), SERVER_ID)])
