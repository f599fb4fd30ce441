"""Session after session: pauses, addresses, and what the router is told."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
import trio
from structlog.typing import EventDict
from trio.testing import wait_all_tasks_blocked

from broker.central import CentralLink, ServerAddress
from broker.central.session import CentralSession
from broker.central.websocket import WebSocketError
from broker.core.messages import BrokerRegistered, ServerAvailable, ServerLost, StatusUpdate
from broker.net.backoff import Backoff
from broker.router.mailbox import Mail, Mailbox
from broker.telemetry.tally import ServerTally
from tests.central.peers import Attempt, Network, Server, start
from tests.lab.autojump import autojump

TOKEN = "t0ps3cr3t"
CONFIGURED = ("central", 80)
ADVERTISED = ("elsewhere", 99)
ELSEWHERE = ServerAvailable("s", "ws://elsewhere:99/ws")
CLOSING = 1.0


class Rig:
    """A link, its mailbox, and the lines it logs."""

    def __init__(
        self, lines: list[EventDict], *, url: str = "ws://central/ws", follow: bool = False
    ) -> None:
        self.lines = lines
        self.mailbox = Mailbox(room=1000)
        self.link = CentralLink(
            ServerAddress(url, token=TOKEN, max_message_bytes=1000),
            broker_id="broker_0001",
            broker_name="Broker",
            silence=45,
            follow_advertised_url=follow,
            backoff=Backoff(initial=1, random=lambda: 1.0),
            tally=ServerTally(),
        )

    async def run(self) -> None:
        await self.link.run(self.mailbox)

    async def mail(self, count: int) -> list[Mail]:
        with trio.fail_after(1000):
            return [await self.mailbox.receive() for _ in range(count)]

    def events(self, event: str) -> list[EventDict]:
        return [line for line in self.lines if line["event"] == event]

    def pauses(self) -> list[float]:
        return [line["retry_in_seconds"] for line in self.events("server_lost")]


@pytest.fixture
def lines() -> Any:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def rig(lines: list[EventDict]) -> Rig:
    return Rig(lines)


@pytest.fixture
def following(lines: list[EventDict]) -> Rig:
    return Rig(lines, follow=True)


async def seconds(wait: Callable[[], Awaitable[object]]) -> float:
    started = trio.current_time()
    await wait()
    return trio.current_time() - started


async def lose(server: Server) -> None:
    await server.stream.aclose()
    await wait_all_tasks_blocked()


@autojump
async def test_while_nobody_listens_the_pauses_grow(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    network.failure = ConnectionRefusedError(111, "Connection refused")
    start(nursery, rig.run)
    await trio.sleep(100)
    assert rig.pauses() == [1, 2, 4, 8, *[10] * 9]
    assert len(network.connections) == 13
    assert {line["error"] for line in rig.events("server_lost")} == {"Connection refused"}
    with pytest.raises(trio.WouldBlock):  # there was no server to lose
        rig.mailbox.receive_nowait()


@autojump
async def test_a_session_that_lasted_resets_the_pauses(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    for _ in range(4):
        server = await network.serve(nursery)
        await server.register()
        await lose(server)
    server = await network.serve(nursery)
    await server.register()
    await trio.sleep(11)
    await lose(server)
    assert rig.pauses() == [1, 2, 4, 8, 1]


@autojump
async def test_a_message_above_the_limit_calls_for_the_longest_pause(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    await server.send_text("x" * 1001)
    assert await seconds(network.accept) == pytest.approx(10, abs=CLOSING)
    assert rig.pauses() == [10]


@autojump
async def test_the_router_hears_all_of_it(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    for broker_id in ("first", "second"):
        server = await network.serve(nursery)
        await server.register(broker_id)
        await server.send("AGENT_STATUS_UPDATE", agents=[], is_full_update=True)
        await wait_all_tasks_blocked()
        await lose(server)
        assert await rig.mail(3) == [
            BrokerRegistered(broker_id),
            StatusUpdate({}, is_full=True),
            ServerLost(),
        ]


@autojump
async def test_the_assigned_id_outlives_the_session(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register("named")
    await lose(server)
    server = await network.serve(nursery)
    await server.receive()
    await server.send("PING")
    assert await server.receive() == {"message_type": "PONG", "broker_id": "named"}


@autojump
async def test_a_wanted_status_is_requested(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    await trio.sleep(60)
    rig.link.want_status()
    assert (await server.receive())["message_type"] == "REQUEST_AGENT_STATUS"


ODD = [
    ValueError("odd"),
    trio.TooSlowError(),
    ExceptionGroup("many", [KeyError("a"), ExceptionGroup("more", [OSError("b")])]),
    RecursionError(),
    WebSocketError("plain"),
]


@autojump
@pytest.mark.parametrize("error", ODD, ids=repr)
async def test_whatever_a_session_raises_the_link_survives(
    error: Exception,
    rig: Rig,
    network: Network,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(_: CentralSession) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(CentralSession, "run", fail)
        attempt = start(nursery, rig.run)
        await network.serve(nursery)
        assert await rig.mail(1) == [ServerLost()]
    server = await network.serve(nursery)
    await server.register()
    assert not attempt.has_ended
    assert rig.pauses() == [1]


@autojump
async def test_a_session_that_ends_without_a_word_is_a_lost_one(
    rig: Rig, network: Network, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(_: CentralSession) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(CentralSession, "run", end)
    start(nursery, rig.run)
    await network.serve(nursery)
    assert await rig.mail(1) == [ServerLost()]
    await network.serve(nursery)
    assert rig.pauses() == [1]
    assert rig.events("server_lost")[0]["error"] == "the connection was lost"


@autojump
async def test_an_unexpected_error_is_logged_whole(
    rig: Rig, network: Network, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: CentralSession) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(CentralSession, "run", fail)
    start(nursery, rig.run)
    await network.serve(nursery)
    await rig.mail(1)
    [line] = rig.events("session_failed")
    assert line["exc_info"]


@autojump
async def test_an_address_that_cannot_be_requested_is_survived(
    following: Rig, network: Network, nursery: trio.Nursery
) -> None:
    """A path with a space passes every check but that of the library below."""
    following.link.server_available(ServerAvailable("s", "ws://elsewhere:99/a b"))
    attempt = start(nursery, following.run)
    await network.accept()
    await network.accept()
    assert network.connections == [ADVERTISED, CONFIGURED]
    assert not attempt.has_ended


@autojump
async def test_an_advertisement_ends_a_pause_at_once(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    network.failure = OSError("no route")
    start(nursery, rig.run)
    await trio.sleep(10)  # within the pause of 8 seconds
    tried = len(network.connections)
    rig.link.server_available(ELSEWHERE)
    await wait_all_tasks_blocked()
    assert network.connections[tried:] == [CONFIGURED]


@autojump
async def test_a_flood_of_advertisements_does_not_become_one_of_connections(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    network.failure = OSError("no route")
    start(nursery, rig.run)
    for _ in range(1000):
        rig.link.server_available(ELSEWHERE)
        await trio.sleep(0.01)
    assert 9 <= len(network.connections) <= 11


@autojump
async def test_an_advertisement_of_before_ends_no_pause(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    rig.link.server_available(ELSEWHERE)
    await lose(server)
    assert await seconds(network.accept) == 1


@autojump
async def test_an_advertised_address_is_followed_when_that_is_allowed(
    following: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, following.run)
    server = await network.serve(nursery)
    await server.register()
    following.link.server_available(ELSEWHERE)
    await lose(server)
    server = await network.serve(nursery)
    await server.register()
    await lose(server)
    await network.accept()
    assert network.connections == [CONFIGURED, ADVERTISED, ADVERTISED]


@autojump
@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "http://elsewhere:99/ws",
        "elsewhere:99",
        "ws://",
        "ws:///ws",
        "ws://elsewhere:0/ws",
        "ws://elsewhere:99999/ws",
        "ws://[::1/ws",
        "\x00",
    ],
)
async def test_an_address_that_is_none_is_not_followed(
    url: str | None, following: Rig, network: Network, nursery: trio.Nursery
) -> None:
    following.link.server_available(ServerAvailable("s", url))
    start(nursery, following.run)
    await network.accept()
    assert network.connections == [CONFIGURED]


@autojump
@pytest.mark.parametrize("url", ["wss://central/ws", "WSS://central/ws"])
async def test_the_token_does_not_leave_in_the_clear_because_a_message_says_so(
    url: str, lines: list[EventDict], network: Network, nursery: trio.Nursery
) -> None:
    network.failure = OSError("no route")
    rig = Rig(lines, url=url, follow=True)
    rig.link.server_available(ELSEWHERE)
    start(nursery, rig.run)
    await trio.sleep(0.5)
    rig.link.server_available(ServerAvailable("s", "wss://elsewhere/ws"))
    await trio.sleep(0.6)
    assert network.connections == [("central", 443), ("elsewhere", 443)]
    assert len(rig.events("advertised_url_ignored")) == 1


@autojump
async def test_where_nobody_listens_the_configured_address_is_next(
    following: Rig, network: Network, nursery: trio.Nursery
) -> None:
    network.failure = OSError("no route")
    following.link.server_available(ELSEWHERE)
    start(nursery, following.run)
    await trio.sleep(2)
    assert network.connections == [ADVERTISED, CONFIGURED]


@autojump
async def test_where_the_broker_is_refused_the_configured_address_is_next(
    following: Rig, network: Network, nursery: trio.Nursery
) -> None:
    following.link.server_available(ELSEWHERE)
    start(nursery, following.run)
    server = await network.serve(nursery)
    await server.receive()
    await server.send("ERROR", text_payload="who are you?")
    await network.accept()
    assert network.connections == [ADVERTISED, CONFIGURED]


@autojump
async def test_an_address_advertised_during_an_attempt_is_not_forgotten(
    following: Rig, network: Network, nursery: trio.Nursery
) -> None:
    network.failure = OSError("no route")
    network.delay = 5
    start(nursery, following.run)
    await trio.sleep(2)
    following.link.server_available(ELSEWHERE)
    await trio.sleep(5)
    assert network.connections == [CONFIGURED, ADVERTISED]


@autojump
async def test_an_advertisement_is_logged(rig: Rig) -> None:
    rig.link.server_available(ELSEWHERE)
    assert rig.lines == [
        {
            "event": "server_available",
            "log_level": "info",
            "server_id": "s",
            "websocket_url": "ws://elsewhere:99/ws",
        }
    ]


async def ended(attempt: Attempt) -> None:
    attempt.scope.cancel()
    await attempt.end(CLOSING)
    assert attempt.scope.cancelled_caught


@autojump
async def test_cancelled_in_a_session_it_closes_in_time(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    await ended(attempt)
    assert server.websocket.closed is not None
    assert server.websocket.closed.code == 1000


@autojump
async def test_cancelled_with_a_peer_that_answers_nothing_it_closes_in_time(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    await network.serve_by_hand()
    await wait_all_tasks_blocked()
    network.wires[0].is_stuck = True
    await ended(attempt)


@autojump
@pytest.mark.parametrize("delay", [0, 1000])
async def test_cancelled_while_connecting_it_ends_at_once(
    delay: float, rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    network.delay = delay
    attempt = start(nursery, rig.run)
    await wait_all_tasks_blocked()
    assert await seconds(lambda: ended(attempt)) == 0


@autojump
async def test_cancelled_in_a_pause_it_ends_at_once(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    network.failure = OSError("no route")
    attempt = start(nursery, rig.run)
    await trio.sleep(40)
    assert await seconds(lambda: ended(attempt)) == 0


@autojump
async def test_the_token_is_in_no_log_line(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    request = await network.request(nursery)
    await request.reject(403, body=TOKEN.encode())
    server = await network.serve(nursery)
    await server.register()
    await lose(server)
    await (await network.accept()).send_all(b"garbage\r\n\r\n")
    await network.accept()
    assert len(rig.pauses()) == 3
    assert TOKEN not in repr(rig.lines)
