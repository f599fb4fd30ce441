"""Dead letters that RabbitMQ does not take at first."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from broker.amqp import Delivery, Publishing, PublishingRefusedError, Refusals, Settlement
from broker.amqp.dead_letter import dead_letter
from broker.amqp.dead_lettering import DeadLettering
from broker.amqp.publisher import PublishOutcome, UnroutableError
from broker.amqp.suspects import Publishers


class Suspects:
    """RabbitMQ as the publisher of suspects sees it: it refuses whatever keeps properties."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def publish(self, publishing: Publishing) -> PublishOutcome:
        if publishing.kept is not None:
            raise PublishingRefusedError("PRECONDITION_FAILED")
        self.taken.append(publishing.body)
        return PublishOutcome.CONFIRMED


def test_a_dead_letter_that_becomes_a_suspect_on_its_way_may_be_refused_like_any_other() -> None:
    """Its queue was missing when it was published, and something else was refused meanwhile."""
    delivery = Delivery("input", 1, b"body", redelivered=True)
    letter = dead_letter(delivery, queue="dead", reason="r", error="e", broker_id="b")
    settlement = Settlement(delivery, letter, rejected="r")

    suspects, refusals = Suspects(), Refusals()
    refusals.is_unexplained = True
    publisher: Any = SimpleNamespace(frame_max=131_072)
    dead_lettering = DeadLettering(Publishers(publisher, cast("Any", suspects), refusals))
    settled = asyncio.run(dead_lettering.unroutable(settlement, UnroutableError("dead")))
    assert settled == settlement
    assert suspects.taken == [b"\0\0body"]
