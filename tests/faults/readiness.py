"""Watches that brokers say rightly whether they are ready, whatever happens meanwhile.

What is right: a broker says the same in `/readyz` and `/status`; it is not ready while its session
is one with a RabbitMQ node that has gone away since; and it is ready again soon, as long as
RabbitMQ as a whole is there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import trio
from yarl import URL

from broker.cli.fetch import FetchError, fetch
from tests.faults.broker_control import BrokerControl
from tests.lab.eventually import eventually

DETECTION = timedelta(seconds=5)
"""After that a broker must have noticed that its node has gone away, if the network says so."""
RECOVERY = timedelta(seconds=15)
"""That long a broker may be unready at a stretch, or give no answer, its start included."""
READY, UNREADY = 200, 503
_INTERVAL = 0.5


class Session(msgspec.Struct, frozen=True):
    state: str
    peer: str
    since: datetime

    @property
    def port(self) -> int | None:
        return URL(self.peer).port


class Connections(msgspec.Struct, frozen=True):
    rabbitmq: Session


class Said(msgspec.Struct, frozen=True):
    ready: bool
    connections: Connections


class Answers(msgspec.Struct, frozen=True):
    before: Said
    code: int
    after: Said


class Readiness:
    """The record of one broker. No I/O.

    Args:
        detection: How long it may take to notice that its node has gone away.

    Attributes:
        ready_at: When it was asked the last time, if it was ready then; else None.
    """

    def __init__(self, detection: timedelta = DETECTION) -> None:
        self._detection = detection
        self.ready_at: datetime | None = None
        self._unready_since: datetime | None = None

    def restarted(self) -> None:
        """Take note that it is being started: the time until it must be ready begins anew."""
        self.ready_at = None
        self._unready_since = None

    def see(
        self, at: datetime, answers: Answers | None, gone: Mapping[int, datetime]
    ) -> str | None:
        """Take note of answers, and return what is wrong with them."""
        is_ready = answers is not None and answers.code == READY
        self.ready_at = at if is_ready else None
        if is_ready:
            self._unready_since = None
        else:
            self._unready_since = self._unready_since or at
            if at - self._unready_since > RECOVERY:
                return f"not ready for {(at - self._unready_since).total_seconds():.1f} s"
        if answers is None or answers.before != answers.after:
            return None  # it may have changed between one answer and the next
        if answers.code != (READY if answers.before.ready else UNREADY):
            return f"ready by /readyz ({answers.code}) or by /status, and not by the other"
        session = answers.before.connections.rabbitmq
        gone_at = gone.get(session.port or 0)
        if is_ready and gone_at is not None and session.since < gone_at < at - self._detection:
            return f"ready {(at - gone_at).total_seconds():.1f} s after its node had gone away"
        return None


type Ask = Callable[[BrokerControl], Awaitable[Answers | None]]


class Watch:
    def __init__(
        self,
        brokers: Iterable[BrokerControl],
        gone: Mapping[int, datetime],
        ask: Ask,
        detection: timedelta,
    ) -> None:
        self._gone = gone
        self._ask = ask
        self._records = [(broker, Readiness(detection)) for broker in brokers]

    async def all_ready(self, *, within: float = RECOVERY.total_seconds()) -> None:
        """Wait until all brokers have said, asked from now on, that they are ready."""
        # An earlier answer may be that of a broker that was restarted between two looks at it.
        begun = datetime.now(UTC)
        await eventually(
            lambda: [record.ready_at for _, record in self._records],
            "all brokers ready",
            until=lambda ready: all(at is not None and at >= begun for at in ready),
            within=within,
        )

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for broker, record in self._records:
                nursery.start_soon(self._watch, broker, record)

    async def _watch(self, broker: BrokerControl, record: Readiness) -> None:
        while True:
            if broker.is_running:
                at = datetime.now(UTC)
                wrong = record.see(at, await self._ask(broker), self._gone)
                assert wrong is None or not broker.is_running, f"{broker.log}: a broker was {wrong}"
            else:
                record.restarted()
            await trio.sleep(_INTERVAL)


async def ask(broker: BrokerControl) -> Answers | None:
    url = broker.url()
    if url is None:
        return None
    try:
        before = await _said(url)
        code, _ = await fetch(f"{url}/readyz")
        return Answers(before, code, await _said(url))
    except FetchError:
        return None


async def _said(url: str) -> Said:
    _, body = await fetch(f"{url}/status")
    return msgspec.json.decode(body, type=Said)


@asynccontextmanager
async def watching(
    brokers: Iterable[BrokerControl],
    gone: Mapping[int, datetime],
    ask: Ask = ask,
    *,
    detection: timedelta = DETECTION,
) -> AsyncIterator[Watch]:
    """Watch brokers for the length of the block.

    Args:
        gone: When nodes went away the last time, by port; looked at all the time.
        detection: How long a broker may take to notice that.
    """
    async with trio.open_nursery() as nursery:
        watch = Watch(brokers, gone, ask, detection)
        nursery.start_soon(watch.run)
        yield watch
        nursery.cancel_scope.cancel()
