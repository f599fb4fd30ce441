"""What crosses the border between RabbitMQ and the broker, in both directions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from broker.amqp.wire.held import Held
from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.raw_properties import NO_PROPERTIES


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message that RabbitMQ delivered and that must be settled.

    Attributes:
        source: The queue it came from; for announcements, the fanout exchange.
        tag: The delivery tag; it lives and dies with the session.
        headers: Those of `FORWARDED_HEADERS` that are present, and not too long.
        expiration: The AMQP property in milliseconds, if present and such that RabbitMQ takes it.
        delivery_count: How often a quorum queue had it returned before, as far as it says so.
        held: How long it is held, as its headers say; only to be believed of the hold queue.
    """

    source: str
    tag: int
    body: bytes
    redelivered: bool = False
    headers: Mapping[str, str] = {}
    correlation_id: str | None = None
    properties_error: str | None = None
    replays: int = 0
    message_id: str | None = None
    priority: int | None = None
    expiration: str | None = None
    delivery_count: int = 0
    raw_properties: bytes = NO_PROPERTIES
    held: Held | None = None

    def __repr__(self) -> str:
        # Error messages quote values, and never log message bodies.
        return f"<Delivery {self.tag} from {self.source!r}>"


class DeadLetterAddress(msgspec.Struct, frozen=True):
    """Where a delivery goes that RabbitMQ does not take as it was decided."""

    queue: str
    broker_id: str


class SettlementObserver(Protocol):
    """Follows settlements that carry a trace, in the AMQP thread. Its methods must not raise."""

    def dead_lettering(self, trace: object, letter: Publishing, reason: str) -> Publishing:
        """Note that a dead letter goes out instead of what was decided, and return it."""

    def confirmed(self, trace: object) -> None:
        """Note that only the acknowledgement is left to do.

        When the session ends before, it is not called.
        """


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What was decided about a delivery.

    The delivery is acknowledged once RabbitMQ has confirmed the announcement and the publishing, as
    far as there are any.

    Attributes:
        rejected: The reason code when the publishing is a dead letter.
        fallback: Where the delivery goes when there is no queue for the publishing, or when
            RabbitMQ refuses it for good.
        trace: What the session's observer knows the settlement by; None is not observed.
        told: What other brokers are told on this occasion; nobody waits for it to be confirmed.
    """

    delivery: Delivery
    publishing: Publishing | None = None
    rejected: str | None = None
    fallback: DeadLetterAddress | None = None
    trace: object | None = None
    announcement: Publishing | None = None
    told: Publishing | None = None


@dataclass(slots=True, eq=False, repr=False)
class Deliveries:
    """Deliveries from one source that arrived together, and the way back for what is decided.

    Attributes:
        publish: Publishes what was decided about some of them, in the order given. Returns at once.
            After the session has ended it does nothing: RabbitMQ delivers again.
    """

    source: str
    deliveries: Sequence[Delivery]
    publish: Callable[[Sequence[Settlement]], None]
