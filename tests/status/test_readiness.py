"""What a broker with several input queues says of its consumers."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from msgspec.structs import replace

from broker.concurrency.wakeup import Gate
from broker.status.readiness import readiness
from broker.status.vitals import Vitals
from tests.lab.autojump import autojump
from tests.router import samples

QUEUES = replace(samples.QUEUES, inputs=("in-1", "in-2"))


def vitals(*consumed: str, **amqp_has: object) -> Vitals:
    connectivity = SimpleNamespace(is_connected=True, error=None)
    nothing: dict[str, object] = {
        "refused": {},
        "unavailable": {},
        "tried_again": {},
        "on_hold": {},
        "overdue": 0,
        "connectivity": connectivity,
    }
    amqp = SimpleNamespace(
        is_blocked=False,
        consumed=frozenset(consumed),
        **(nothing | amqp_has),
    )
    consumption = Gate()
    consumption.open()
    unused = cast("Any", None)
    return Vitals(
        broker_name="test",
        queues=QUEUES,
        prefetch=10,
        router=unused,
        mailbox=unused,
        amqp=cast("Any", amqp),
        rabbit=unused,
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


ALL = ("in-1", "in-2", "meta", "advert", "events")


def problem(check: str, *consumed: str, **amqp_has: object) -> str | None:
    problems = {one.name: one.problem for one in readiness(vitals(*(consumed or ALL), **amqp_has))}
    found = problems.pop(check)
    assert set(problems.values()) == {None}
    return found


@autojump
async def test_why_a_queue_is_not_consumed_is_named() -> None:
    refused = {"advert": "RESOURCE_LOCKED - it is somebody else's"}
    found = problem("consumers", "in-1", "in-2", "events", "meta", refused=refused)
    assert found == ("RabbitMQ has no consumer of advert (RESOURCE_LOCKED - it is somebody else's)")


@autojump
@pytest.mark.parametrize(
    ("tried_again", "says"),
    [
        ({}, "dead: NOT_FOUND"),
        ({"dead": 1}, "dead: NOT_FOUND (1 message waits for it)"),
        ({"dead": 3}, "dead: NOT_FOUND (3 messages wait for it)"),
    ],
)
async def test_what_takes_no_messages_is_named(*, tried_again: dict[str, int], says: str) -> None:
    found = problem("queues", unavailable={"dead": "NOT_FOUND"}, tried_again=tried_again)
    assert found == says


@autojump
async def test_that_messages_wait_for_a_moment_is_no_problem() -> None:
    assert problem("queues", tried_again={"out": 3}, on_hold={"in-1": 4}) is None


@autojump
async def test_a_queue_that_will_be_held_up_is_named() -> None:
    assert problem("queues", on_hold={"in-1": 5, "in-2": 4}) == (
        "5 of the 10 messages that may be held of in-1 are waiting; at the limit, no more are taken"
    )


@autojump
async def test_messages_without_an_answer_are_a_problem() -> None:
    found = problem("queues", overdue=2)
    assert found is not None
    assert found.startswith("RabbitMQ neither confirms nor refuses 2 messages")


@autojump
async def test_what_only_rabbitmq_knows_is_not_known_without_it() -> None:
    connecting = SimpleNamespace(is_connected=False, error=None)
    checks = readiness(vitals(connectivity=connecting))
    unknown = [check for check in checks if not check.is_known]
    assert [check.name for check in unknown] == ["alarm", "queues"]
    assert {check.problem for check in unknown} == {"not known while RabbitMQ is not connected"}
    assert all(check.is_known for check in readiness(vitals(*ALL)))
