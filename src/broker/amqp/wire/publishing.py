"""What is published, before it is bytes."""

from collections.abc import Mapping

import msgspec


class Publishing(msgspec.Struct, frozen=True, gc=False):
    """One message to publish, persistent, to a queue or through a fanout exchange.

    Attributes:
        queue: The queue it goes to, and must go to (`mandatory`); empty with an exchange.
        exchange: The fanout exchange it goes through, to whoever listens; empty with a queue.
        expiration: The AMQP property: decimal milliseconds, ten years at most.
        kept: AMQP flags and properties of another message that this one keeps, byte for byte; the
            headers above replace those of the same names. Nothing is set but the delivery mode,
            and a `message_id` when there is none.
        is_moved: Whether `kept` stays as it is, with nothing set or replaced, and a queue must take
            the message also behind an exchange.
    """

    queue: str
    body: bytes
    app_id: str
    headers: Mapping[str, str] = {}
    correlation_id: str | None = None
    exchange: str = ""
    priority: int | None = None
    expiration: str | None = None
    kept: bytes | None = None
    is_moved: bool = False

    def __repr__(self) -> str:
        return f"<Publishing to {self.exchange or self.queue!r}>"
