"""How a delivery that cannot be processed is parked: as it came, and with the reason."""

from datetime import UTC, datetime

from broker.amqp.delivery import Delivery, Publishing

_MAX_ERROR_BYTES = 255


def dead_letter(
    delivery: Delivery, *, queue: str, reason: str, error: str, broker_id: str
) -> Publishing:
    """Return the publishing that parks a delivery.

    Args:
        delivery: The delivery; its body is kept byte for byte.
        queue: The dead-letter queue.
        reason: A stable code.
        error: One line for a person; cut at 255 bytes.
        broker_id: Who could not process it.
    """
    return Publishing(
        queue=queue,
        body=delivery.body,
        app_id=broker_id,
        correlation_id=delivery.correlation_id,
        headers={
            **delivery.headers,
            "x-broker-reason": reason,
            "x-broker-error": _one_line(error),
            "x-original-queue": delivery.queue,
            "x-broker-id": broker_id,
            "x-dead-lettered-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        },
    )


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    # A lone surrogate has no UTF-8. A cut inside of a character leaves bytes that `ignore` drops.
    return line.encode(errors="replace")[:_MAX_ERROR_BYTES].decode(errors="ignore")
