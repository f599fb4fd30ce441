"""What a broker with several input queues says of its consumers."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from broker.dispatch import QueueNames
from broker.observe.readiness import readiness
from broker.observe.vitals import Vitals
from broker.wakeup import Gate
from tests.autojump import autojump

QUEUES = QueueNames(
    inputs=("in-1", "in-2"),
    outputs=("out",),
    metadata="meta",
    advertisement="advert",
    dead_letter="dead",
    registry_exchange="events",
)


def vitals(*consumed: str) -> Vitals:
    connectivity = SimpleNamespace(is_connected=True, error=None)
    amqp = SimpleNamespace(
        connectivity=connectivity, is_blocked=False, consumed=frozenset(consumed)
    )
    consumption = Gate()
    consumption.open()
    unused = cast("Any", None)
    return Vitals(
        broker_name="test",
        queues=QUEUES,
        prefetch=1,
        router=unused,
        mailbox=unused,
        amqp=cast("Any", amqp),
        portal=unused,
        central=cast("Any", SimpleNamespace(connectivity=connectivity)),
        consumption=consumption,
        messages=unused,
        publishings=unused,
        server=unused,
        stop_requested=trio.Event(),
    )


@autojump
@pytest.mark.parametrize(
    ("missing", "problem", "is_routing"),
    [
        ([], None, True),
        (["meta"], "RabbitMQ has no consumer of meta", True),
        (["in-2"], "RabbitMQ has no consumer of in-2", False),
        (["in-1", "in-2"], "RabbitMQ has no consumer of in-1, in-2", False),
    ],
)
async def test_each_queue_wants_a_consumer(
    *, missing: list[str], problem: str | None, is_routing: bool
) -> None:
    some = vitals(*({"in-1", "in-2", "meta", "advert", "events"} - set(missing)))
    problems = {check.name: check.problem for check in readiness(some)}
    assert problems.pop("consumers") == problem
    assert set(problems.values()) == {None}
    assert some.is_routing == is_routing
