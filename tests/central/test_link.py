"""Session after session: pauses, addresses, and what the router is told."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import structlog
import trio
from structlog.typing import EventDict
from trio.testing import wait_all_tasks_blocked
from trio_websocket import WebSocketConnection

from broker.central import CentralLink, ServerAddress
from broker.central.websocket import WebSocketError
from broker.core.messages import (
    BrokerRegistered,
    ServerAvailable,
    ServerLost,
    ServerNews,
    StatusUpdate,
)
from broker.net.backoff import Backoff
from broker.telemetry.tally import ServerTally
from tests.central.session_rig import TERMS
from tests.lab.autojump import autojump
from tests.lab.websocket_peers import CLOSING, Attempt, Peer, Server, start

TOKEN = "t0ps3cr3t"
CONFIGURED = ("central", 80)
ADVERTISED = ("elsewhere", 99)
ELSEWHERE = ServerAvailable("s", "ws://elsewhere:99/ws")


class Rig(Peer):
    """A link, what it tells the router, and the lines it logs.

    Attributes:
        ends: What becomes of the next sessions as soon as they are open.
    """

    def __init__(
        self,
        lines: list[EventDict],
        nursery: trio.Nursery,
        *,
        url: str = "ws://central/ws",
        follow: bool = False,
    ) -> None:
        super().__init__(nursery)
        self.lines = lines
        self.ends: list[Exception | None] = []
        self.make_room(math.inf)
        self.link = CentralLink(
            ServerAddress(url, token=TOKEN, max_message_bytes=1000),
            TERMS,
            broker_id="broker_0001",
            follow_advertised_url=follow,
            backoff=Backoff(initial=1, random=lambda: 1.0),
            tally=ServerTally(),
            open_websocket=self._open_or_end,
        )

    def make_room(self, room: float) -> None:
        """Let so many news wait for the router."""
        self._send_news, self.news = trio.open_memory_channel[ServerNews](room)

    @asynccontextmanager
    async def _open_or_end(self, address: ServerAddress) -> AsyncIterator[WebSocketConnection]:
        async with self.open_websocket(address) as websocket:
            with trio.CancelScope() as scope:
                if self.ends:
                    scope.cancel()
                yield websocket
        if scope.cancelled_caught and (error := self.ends.pop(0)) is not None:
            raise error

    def start(self) -> Attempt:
        return start(self.nursery, partial(self.link.run, self._send_news))

    async def register(self, broker_id: str = "named") -> Server:
        """Serve the next session, and let the broker register."""
        server = await self.serve()
        await server.register(broker_id)
        return server

    async def heard(self, count: int) -> list[ServerNews]:
        with trio.fail_after(1000):
            return [await self.news.receive() for _ in range(count)]

    def events(self, event: str) -> list[EventDict]:
        return [line for line in self.lines if line["event"] == event]

    def pauses(self) -> list[float]:
        events = ("server_unavailable", "server_lost")
        return [line["retry_in_seconds"] for line in self.lines if line["event"] in events]


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
async def rig(lines: list[EventDict], nursery: trio.Nursery) -> Rig:
    return Rig(lines, nursery)


@pytest.fixture
async def following(lines: list[EventDict], nursery: trio.Nursery) -> Rig:
    return Rig(lines, nursery, follow=True)


async def seconds(wait: Callable[[], Awaitable[object]]) -> float:
    started = trio.current_time()
    await wait()
    return trio.current_time() - started


async def lose(server: Server) -> None:
    await server.stream.aclose()
    await wait_all_tasks_blocked()


@autojump
async def test_while_nobody_listens_the_pauses_grow(rig: Rig) -> None:
    rig.failure = ConnectionRefusedError(111, "Connection refused")
    rig.start()
    await trio.sleep(100)
    assert rig.pauses() == [1, 2, 4, 8, *[10] * 9]
    assert len(rig.connections) == 13
    assert {line["error"] for line in rig.events("server_unavailable")} == {"connection refused"}
    assert {line["url"] for line in rig.events("server_unavailable")} == {"ws://central/ws"}
    assert not rig.events("server_lost")
    with pytest.raises(trio.WouldBlock):  # there was no server to lose
        rig.news.receive_nowait()


@autojump
async def test_a_session_that_lasted_resets_the_pauses(rig: Rig) -> None:
    rig.start()
    for _ in range(4):
        server = await rig.register()
        await lose(server)
    server = await rig.register()
    await trio.sleep(11)
    await lose(server)
    assert rig.pauses() == [1, 2, 4, 8, 1]


@autojump
async def test_a_message_above_the_limit_calls_for_the_longest_pause(rig: Rig) -> None:
    rig.start()
    server = await rig.register()
    await server.send_text("x" * 1001)
    assert await seconds(rig.accept) == pytest.approx(10, abs=CLOSING)
    assert rig.pauses() == [10]


@autojump
async def test_the_router_hears_all_of_it(rig: Rig) -> None:
    rig.start()
    for broker_id in ("first", "second"):
        server = await rig.register(broker_id)
        await server.send("AGENT_STATUS_UPDATE", agents=[], is_full_update=True)
        await wait_all_tasks_blocked()
        await lose(server)
        assert await rig.heard(3) == [
            BrokerRegistered(broker_id),
            StatusUpdate({}, is_full=True),
            ServerLost(),
        ]


@autojump
async def test_the_loss_of_a_session_waits_for_the_router_like_all_its_news(rig: Rig) -> None:
    rig.make_room(1)
    rig.start()
    await lose(await rig.register("first"))
    await trio.sleep(60)
    assert not rig.pauses(), "the next session could not say anything before"
    assert await rig.heard(2) == [BrokerRegistered("first"), ServerLost()]
    await rig.register("second")
    assert await rig.heard(1) == [BrokerRegistered("second")]


@autojump
async def test_what_was_never_connected_is_not_lost(rig: Rig) -> None:
    rig.start()
    await (await rig.accept()).send_all(b"garbage\r\n\r\n")
    await lose(await rig.register())
    await (await rig.accept()).send_all(b"garbage\r\n\r\n")
    await rig.register()
    events = [line["event"] for line in rig.lines if line["event"].startswith("server_")]
    unavailable, lost = "server_unavailable", "server_lost"
    tried = "server_connecting"
    assert events == [tried, unavailable, tried, lost, tried, unavailable, tried]


@autojump
async def test_a_new_id_is_logged_with_the_one_before(rig: Rig) -> None:
    rig.start()
    for name in ("named", "named", "renamed"):
        await lose(await rig.register(name))
    ids = [(line["broker_id"], line.get("previous_id")) for line in rig.events("registered")]
    assert ids == [("named", "broker_0001"), ("named", None), ("renamed", "named")]


@autojump
async def test_the_assigned_id_outlives_the_session(rig: Rig) -> None:
    rig.start()
    server = await rig.register("named")
    await lose(server)
    server = await rig.serve()
    await server.receive()
    await server.send("PING")
    assert await server.receive() == {"message_type": "PONG", "broker_id": "named"}


@autojump
async def test_a_wanted_status_is_requested(rig: Rig) -> None:
    rig.start()
    server = await rig.register()
    await trio.sleep(60)
    rig.link.want_status()
    assert (await server.receive())["message_type"] == "REQUEST_AGENT_STATUS"


ODD = [
    ValueError("odd"),
    trio.TooSlowError(),
    ExceptionGroup("many", [KeyError("a"), ExceptionGroup("more", [OSError("b")])]),
]


@autojump
@pytest.mark.parametrize("error", [*ODD, WebSocketError("plain"), None], ids=repr)
async def test_whatever_a_session_raises_the_link_survives(
    error: Exception | None, rig: Rig
) -> None:
    rig.ends = [error]
    attempt = rig.start()
    await rig.serve()
    assert await rig.heard(1) == [ServerLost()]
    await rig.register()
    assert not attempt.has_ended
    assert rig.pauses() == [1]
    lost_because = str(error or "the connection was lost")
    assert [line["error"] for line in rig.events("server_unavailable")] == [lost_because]
    is_expected = error is None or isinstance(error, WebSocketError)
    failures = [bool(line["exc_info"]) for line in rig.events("session_failed")]
    assert failures == ([] if is_expected else [True])


@autojump
async def test_an_address_that_cannot_be_requested_is_survived(following: Rig) -> None:
    """A path with a space passes every check but that of the library below."""
    following.link.server_available(ServerAvailable("s", "ws://elsewhere:99/a b"))
    attempt = following.start()
    await following.accept()
    await following.accept()
    assert following.connections == [ADVERTISED, CONFIGURED]
    assert not attempt.has_ended


@autojump
async def test_an_advertisement_ends_a_pause_at_once(rig: Rig) -> None:
    rig.failure = OSError("no route")
    rig.start()
    await trio.sleep(10)  # within the pause of 8 seconds
    tried = len(rig.connections)
    rig.link.server_available(ELSEWHERE)
    await wait_all_tasks_blocked()
    assert rig.connections[tried:] == [CONFIGURED]
    [line] = rig.events("server_advertised")
    assert (line["server_id"], line["websocket_url"]) == ("s", "ws://elsewhere:99/ws")


@autojump
async def test_a_flood_of_advertisements_does_not_become_one_of_connections(rig: Rig) -> None:
    rig.failure = OSError("no route")
    rig.start()
    for _ in range(1000):
        rig.link.server_available(ELSEWHERE)
        await trio.sleep(0.01)
    assert 9 <= len(rig.connections) <= 11


@autojump
async def test_an_advertisement_of_before_ends_no_pause(rig: Rig) -> None:
    rig.start()
    server = await rig.register()
    rig.link.server_available(ELSEWHERE)
    await lose(server)
    assert await seconds(rig.accept) == 1


@autojump
async def test_an_advertised_address_is_followed_when_that_is_allowed(following: Rig) -> None:
    following.start()
    server = await following.register()
    following.link.server_available(ELSEWHERE)
    await lose(server)
    server = await following.register()
    await lose(server)
    await following.accept()
    assert following.connections == [CONFIGURED, ADVERTISED, ADVERTISED]


@autojump
@pytest.mark.parametrize(
    "url",
    [
        *(None, "", "\x00", "http://elsewhere:99/ws", "elsewhere:99"),
        *("ws://", "ws:///ws", "ws://elsewhere:0/ws", "ws://elsewhere:99999/ws", "ws://[::1/ws"),
    ],
)
async def test_an_address_that_is_none_is_not_followed(url: str | None, following: Rig) -> None:
    following.link.server_available(ServerAvailable("s", url))
    following.start()
    await following.accept()
    assert following.connections == [CONFIGURED]


@autojump
@pytest.mark.parametrize("url", ["wss://central/ws", "WSS://central/ws"])
async def test_the_token_does_not_leave_in_the_clear_because_a_message_says_so(
    url: str, lines: list[EventDict], nursery: trio.Nursery
) -> None:
    rig = Rig(lines, nursery, url=url, follow=True)
    rig.failure = OSError("no route")
    rig.link.server_available(ELSEWHERE)
    rig.start()
    await trio.sleep(0.5)
    rig.link.server_available(ServerAvailable("s", "wss://elsewhere/ws"))
    await trio.sleep(0.6)
    assert rig.connections == [("central", 443), ("elsewhere", 443)]
    assert len(rig.events("advertised_url_ignored")) == 1


@autojump
async def test_where_nobody_listens_the_configured_address_is_next(following: Rig) -> None:
    following.failure = OSError("no route")
    following.link.server_available(ELSEWHERE)
    following.start()
    await trio.sleep(2)
    assert following.connections == [ADVERTISED, CONFIGURED]


@autojump
async def test_where_the_broker_is_refused_the_configured_address_is_next(following: Rig) -> None:
    following.link.server_available(ELSEWHERE)
    following.start()
    server = await following.serve()
    await server.receive()
    await server.send("ERROR", text_payload="who are you?")
    await following.accept()
    assert following.connections == [ADVERTISED, CONFIGURED]


@autojump
async def test_an_address_advertised_during_an_attempt_is_not_forgotten(following: Rig) -> None:
    following.failure = OSError("no route")
    following.delay = 5
    following.start()
    await trio.sleep(2)
    following.link.server_available(ELSEWHERE)
    await trio.sleep(5)
    assert following.connections == [CONFIGURED, ADVERTISED]


@autojump
async def test_cancelled_in_a_session_it_closes_in_time(rig: Rig) -> None:
    attempt = rig.start()
    server = await rig.register()
    await attempt.cancelled()
    assert server.websocket.closed is not None
    assert server.websocket.closed.code == 1000


@autojump
async def test_cancelled_with_a_peer_that_answers_nothing_it_closes_in_time(rig: Rig) -> None:
    attempt = rig.start()
    await rig.serve_by_hand()
    await wait_all_tasks_blocked()
    rig.wires[0].is_stuck = True
    await attempt.cancelled()


@autojump
@pytest.mark.parametrize("delay", [0, 1000])
async def test_cancelled_while_connecting_it_ends_at_once(delay: float, rig: Rig) -> None:
    rig.delay = delay
    attempt = rig.start()
    await wait_all_tasks_blocked()
    await attempt.cancelled(within=0)


@autojump
async def test_cancelled_in_a_pause_it_ends_at_once(rig: Rig) -> None:
    rig.failure = OSError("no route")
    attempt = rig.start()
    await trio.sleep(40)
    await attempt.cancelled(within=0)


@autojump
async def test_the_log_has_advice_and_no_token(rig: Rig) -> None:
    rig.start()
    stream, _ = await rig.read_request()
    await stream.send_all(b"HTTP/1.1 401 No\r\nContent-Length: 20\r\n\r\nt0ps3cr3t has expired")
    server = await rig.register()
    await lose(server)
    await (await rig.accept()).send_all(b"garbage\r\n\r\n")
    await rig.accept()
    refused, other = rig.events("server_unavailable")
    [lost] = rig.events("server_lost")
    assert "*** has expire" in refused["error"]
    assert refused["advice"] == "correct BROKER_WEBSOCKET_TOKEN"
    assert ["advice" in line for line in (lost, other)] == [False, False]
    assert TOKEN not in repr(rig.lines)
