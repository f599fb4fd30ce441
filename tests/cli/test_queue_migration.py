"""A migration that ends at any point is continued by the next, and loses nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import pytest
import trio
from anyio.from_thread import BlockingPortal

from broker.amqp import AmqpError, Rabbit, SessionLostError, SessionParameters
from broker.amqp.admin import Queues, QueueState, QueueType, mover, open_admin_session
from broker.amqp.wire.marshal import marshal_ack
from broker.cli.queues.migrating import Progress, _migrate_queue
from broker.cli.queues.migration import Seen, Step, next_step, obstacle
from broker.net.endpoints import parse_amqp_urls
from tests.lab.amqp_client import AmqpClient
from tests.lab.rabbitmq_node import RabbitmqNode

MANY = 130
LETTERS = [b"%d" % number for number in range(MANY)]
PATIENCE = 60.0

CLASSIC = QueueState(ready=1, consumers=0, type="classic", differs_in=None)
QUORUM = QueueState(ready=1, consumers=0, type="quorum", differs_in=None)


@pytest.mark.parametrize(
    ("queue", "temporary", "is_marked", "step"),
    [
        (None, None, False, Step.CREATE),
        (QUORUM, None, False, Step.NOTHING),
        (QUORUM, None, True, Step.CLEAR),
        (CLASSIC, None, False, Step.BEGIN),
        (CLASSIC, None, True, Step.BEGIN),
        (CLASSIC, QUORUM, False, Step.MOVE_OUT),
        (None, QUORUM, False, Step.RECREATE),
        (None, QUORUM, True, Step.RECREATE),
        (QUORUM, QUORUM, False, Step.MOVE_OUT),
        (QUORUM, QUORUM, True, Step.MOVE_BACK),
        (CLASSIC, QUORUM, True, Step.MOVE_BACK),
    ],
)
def test_what_is_there_tells_what_comes_next(
    queue: QueueState | None, temporary: QueueState | None, is_marked: bool, step: Step
) -> None:
    assert next_step(Seen(queue, temporary, is_marked), "quorum") is step


def state(**differences: Any) -> QueueState:
    return replace(CLASSIC, ready=0, **differences)


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (Seen(CLASSIC, None, False), None),
        (Seen(None, None, False), None),
        (Seen(state(consumers=2), None, False), "'q' is read by 2 consumers"),
        (Seen(QUORUM, state(consumers=2), False), "'q.migrating' is read by 2 consumers"),
        (Seen(state(type=None, differs_in="durable"), None, False), "'q' is not a durable queue"),
        (Seen(state(type=None), None, False), "the type of 'q' is not known"),
    ],
)
def test_obstacles(seen: Seen, problem: str | None) -> None:
    assert str(obstacle("q", seen, "quorum")).startswith(str(problem))


def test_a_name_with_no_room_for_more() -> None:
    assert obstacle("ü" * 120, Seen(CLASSIC, None, False), "quorum") is None
    assert "more than 240 bytes" in str(obstacle("ü" * 121, Seen(None, None, False), "quorum"))


class CrashError(Exception):
    """The process ended here."""


class Crashing:
    """`Queues` whose process ends after one of its calls."""

    def __init__(self, queues: Queues, crash_at: int) -> None:
        self._queues = queues
        self._calls_left = crash_at

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: object) -> object:
            self._calls_left -= 1
            result = await getattr(self._queues, name)(*args)
            if self._calls_left == 0:
                raise CrashError
            return result

        return call


class Office:
    """A queue of one's own, and sessions that look after it."""

    def __init__(self, node: RabbitmqNode, portal: BlockingPortal) -> None:
        self.raw = AmqpClient(node.url)
        self.queue = f"queue-{uuid4().hex[:8]}"
        self._rabbit = Rabbit(portal)
        (endpoint,) = parse_amqp_urls(node.url)
        self._parameters = SessionParameters(endpoint, name="test")

    @asynccontextmanager
    async def queues(self) -> AsyncIterator[Queues]:
        with trio.fail_after(PATIENCE):
            async with open_admin_session(self._rabbit, self._parameters) as session:
                yield await session.queues()

    async def migrate(self, kind: QueueType) -> Progress:
        progress = Progress(self.queue, None, kind)
        async with self.queues() as queues:
            await _migrate_queue(queues, progress)
        return progress

    async def crash(self, kind: QueueType, crash_at: int) -> bool:
        """Migrate until a call, and return whether it came that far."""
        is_crashed = False
        try:
            async with self.queues() as queues:
                crashing = Crashing(queues, crash_at)
                await _migrate_queue(cast("Queues", crashing), Progress(self.queue, None, kind))
        except* CrashError:
            is_crashed = True
        return is_crashed

    async def type_and_numbers(self) -> tuple[str | None, list[int]]:
        """Return the type of the queue and take its messages; nothing else is left."""
        async with self.queues() as queues:
            state = await queues.look(self.queue)
            assert await queues.look(f"{self.queue}.migrating") is None
            assert not await queues.has_exchange(f"{self.queue}.migrating")
            assert not await queues.has_exchange(f"{self.queue}.migrated")
        assert state is not None
        messages = await self.raw.take(self.queue, state.ready)
        return state.type, [int(message.body) for message in messages]


@pytest.fixture
def office(rabbitmq: RabbitmqNode, portal: BlockingPortal) -> Office:
    return Office(rabbitmq, portal)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("then", "stride"),
    [
        ("quorum", 1),
        # Both ways, so that other versions of RabbitMQ need not see each point.
        pytest.param("classic", 5, marks=pytest.mark.rabbitmq_version),
    ],
)
async def test_a_crash_at_any_point(
    office: Office, then: QueueType, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run may want another type; nothing is lost, doubled, or out of order."""
    # To take a queue for empty too early does no harm either.
    monkeypatch.setattr(mover, "_QUIET", 0.02)
    for crash_at in range(1, 100, stride):
        await office.raw.declare(office.queue)
        await office.raw.publish(office.queue, *LETTERS)
        is_crashed = await office.crash("quorum", crash_at)
        await office.migrate(then)
        kind, numbers = await office.type_and_numbers()
        assert numbers == list(range(MANY)), crash_at
        assert kind == then
        await office.raw.delete(office.queue)
        if not is_crashed:
            break
    else:
        pytest.fail("it never came to its end")
    assert crash_at > 20


@pytest.mark.parametrize("crash_at", [1, 3])
async def test_a_crash_between_confirm_and_acknowledgement(
    office: Office, crash_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was confirmed comes twice, in its order; in the first direction, and in the second."""
    await office.raw.declare(office.queue)
    await office.raw.publish(office.queue, *LETTERS)
    windows = 0

    def crash(tag: int, *, channel: int) -> bytes:
        nonlocal windows
        windows += 1
        if windows == crash_at:
            raise AmqpError("crash")
        return marshal_ack(tag, channel=channel)

    monkeypatch.setattr(mover, "marshal_ack", crash)
    with pytest.raises(SessionLostError, match="crash"):
        await office.migrate("quorum")
    await office.migrate("quorum")
    kind, numbers = await office.type_and_numbers()
    assert kind == "quorum"
    assert list(dict.fromkeys(numbers)) == list(range(MANY))
    assert MANY < len(numbers) <= MANY + mover.WINDOW


async def test_a_broker_that_starts_in_between(office: Office) -> None:
    """It makes a new queue with newer messages; the older ones come first."""
    await office.raw.declare(office.queue)
    await office.raw.publish(office.queue, *LETTERS)
    async with office.queues() as queues:
        await queues.create(f"{office.queue}.migrating", "quorum")
        await queues.lead_to(f"{office.queue}.migrating", f"{office.queue}.migrating")
        while (await queues.move(office.queue, f"{office.queue}.migrating")).count:
            pass
        assert await queues.delete(office.queue, "classic") == 0
    await office.raw.declare(office.queue)
    await office.raw.publish(office.queue, b"1000")
    await office.migrate("quorum")
    assert await office.type_and_numbers() == ("quorum", [*range(MANY), 1000])


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_what_is_not_empty_is_not_deleted(office: Office, kind: QueueType) -> None:
    await office.raw.declare(office.queue, **{"x-queue-type": kind})
    await office.raw.publish(office.queue, b"1")
    async with office.queues() as queues:
        assert await queues.delete(office.queue, kind) is None
        await office.raw.take(office.queue, 1)
        assert await queues.delete(office.queue, kind) == 0
        assert await queues.look(office.queue) is None


@pytest.mark.parametrize(("is_gone", "problem"), [(False, "refused"), (True, "gone")])
async def test_messages_without_a_place_to_go_stay(
    office: Office, is_gone: bool, problem: str
) -> None:
    target = f"{office.queue}.{problem}"
    await office.raw.declare(office.queue)
    await office.raw.publish(office.queue, b"1")
    await office.raw.declare(target, x_max_length=0, x_overflow="reject-publish")

    async def move() -> None:
        async with office.queues() as queues:
            await queues.lead_to(target, target)
            if is_gone:
                await queues.delete(target, "classic")
            await queues.move(office.queue, target)

    with pytest.raises(SessionLostError, match=problem):
        await move()
    [message] = await office.raw.take(office.queue, 1)
    assert message.body == b"1"
