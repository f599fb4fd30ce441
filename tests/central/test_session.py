"""What the broker says in a session, what it understands, and when it gives up."""

import json
from collections.abc import Generator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from broker.central.session import REGISTER_TIMEOUT, SEND_TIMEOUT, STATUS_REQUEST_INTERVAL
from broker.central.websocket import WebSocketError
from broker.core import codec, status_update
from broker.core.messages import AgentStatus, BrokerRegistered, Fields, Rejected, StatusUpdate
from broker.router.mailbox import Mailbox
from tests.central.peers import Attempt, MemoryStream, Network, start
from tests.central.session_rig import SILENCE, Rig
from tests.lab.autojump import autojump

CLOSING = 1.0
SMALL, LARGE = 100, 2_000_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALICE = {
    "agent_id": "alice",
    "agent_name": "Alice",
    "is_online": True,
    "last_seen": "2026-01-01T12:00:00Z",
}
ALICE_ONLINE = StatusUpdate({"alice": AgentStatus("alice", "Alice", True, NOON)})


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def failure_of(attempt: Attempt, within: float = 0.0) -> str:
    error = await attempt.end(within)
    assert isinstance(error, WebSocketError)
    return str(error)


@autojump
async def test_registration(rig: Rig, network: Network, nursery: trio.Nursery) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    assert await server.receive() == {"message_type": "REGISTER_BROKER", "broker_name": "Broker"}
    assert rig.session is not None
    was_registered = rig.session.is_registered
    await server.send("REGISTER_BROKER_RESPONSE", status="success", broker_id="named")
    request = dict(await server.receive())
    assert request.pop("timestamp")
    assert request == {"message_type": "REQUEST_AGENT_STATUS", "sender_id": "named"}
    assert (was_registered, rig.session.is_registered) == (False, True)
    assert rig.session.broker_id == "named"
    assert await rig.mail() == [BrokerRegistered("named")]
    attempt.scope.cancel()
    await attempt.end(CLOSING)
    assert attempt.scope.cancelled_caught


@autojump
@pytest.mark.parametrize(
    "broker_id",
    [
        None,
        "",
        17,
        ["named"],
        pytest.param("x" * 256, id="long"),
        pytest.param("€" * 86, id="wide"),
    ],
)
async def test_registered_without_a_usable_id_it_keeps_its_own(
    broker_id: object, rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    """An id travels as AMQP's `app_id`, which takes 255 bytes: more would stop all publishing."""
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.receive()
    await server.send("REGISTER_BROKER_RESPONSE", status="success", broker_id=broker_id)
    assert (await server.receive())["sender_id"] == "broker_0001"
    assert await rig.mail() == [BrokerRegistered("broker_0001")]


@autojump
async def test_the_longest_id(rig: Rig, network: Network, nursery: trio.Nursery) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register("€" * 85)
    assert await rig.mail() == [BrokerRegistered("€" * 85)]


@autojump
async def test_before_the_answer_updates_and_heartbeats_are_dealt_with(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.receive()
    await server.send("AGENT_STATUS_UPDATE", agents=[ALICE])
    for message_type in ("SERVER_HEARTBEAT", "PING"):
        await server.send(message_type)
        assert await server.receive() == {"message_type": "PONG", "broker_id": "broker_0001"}
    assert await rig.mail() == [ALICE_ONLINE]
    await server.send("REGISTER_BROKER_RESPONSE", status="success", broker_id="named")
    assert (await server.receive())["message_type"] == "REQUEST_AGENT_STATUS"
    assert await rig.mail() == [BrokerRegistered("named")]


@autojump
@pytest.mark.parametrize("message_type", ["SERVER_HEARTBEAT", "PING"])
async def test_a_pong_carries_the_assigned_id(
    message_type: str, rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register("named")
    await server.send(message_type)
    assert await server.receive() == {"message_type": "PONG", "broker_id": "named"}


async def test_a_large_update_delays_no_pong(
    rig: Rig, network: Network, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = status_update.decoding_status_update
    answered = False

    def decode_late(fields: Fields) -> Generator[None, None, StatusUpdate | Rejected]:
        while not answered:
            yield
        return (yield from decode(fields))

    monkeypatch.setattr(status_update, "decoding_status_update", decode_late)
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    agents = [{"agent_id": str(number), "is_online": True} for number in range(5000)]
    await server.send("AGENT_STATUS_UPDATE", agents=agents)
    await server.send("PING")
    nursery.start_soon(rig.outbox.forward, rig.mailbox)
    with trio.fail_after(10):
        assert (await server.receive())["message_type"] == "PONG"
        answered = True
        _, update = await rig.mailbox.receive(), await rig.mailbox.receive()
    assert isinstance(update, StatusUpdate)
    assert len(update.agents) == 5000


@autojump
@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_large_frame_lets_others_run_before_each_pass_over_it(
    size: int,
    rig: Rig,
    network: Network,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times: list[float] = []
    decode_frame = codec.decode_frame
    decode = status_update.decoding_status_update

    def parse(text: str | bytes) -> tuple[str, Fields] | Rejected:
        times.append(trio.current_time())
        return decode_frame(text)

    def split(fields: Fields) -> Generator[None, None, StatusUpdate | Rejected]:
        times.append(trio.current_time())
        return decode(fields)

    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    monkeypatch.setattr(codec, "decode_frame", parse)
    monkeypatch.setattr(status_update, "decoding_status_update", split)
    sent_at = trio.current_time()
    await server.send("AGENT_STATUS_UPDATE", agents=[ALICE], padding="x" * size)
    await trio.sleep(1)
    parsed_at, split_at = times
    if size == LARGE:
        assert sent_at < parsed_at < split_at
    else:
        assert sent_at == parsed_at == split_at


@autojump
async def test_a_busy_router_delays_no_pong(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    nursery.start_soon(rig.outbox.forward, Mailbox(room=1))
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    started = trio.current_time()
    for number in range(200):
        await server.send("AGENT_STATUS_UPDATE", agents=[{"agent_id": str(number)}])
        await server.send("PING")
        assert (await server.receive())["message_type"] == "PONG"
    assert trio.current_time() == started


@autojump
@pytest.mark.parametrize(
    ("message_type", "fields", "text"),
    [
        ("ERROR", {"text_payload": "too many brokers"}, "too many brokers"),
        ("ERROR", {"message": "go away"}, "go away"),
        ("ERROR", {}, "no reason given"),
        ("ERROR", {"text_payload": "x" * 5000}, "x" * 200),
        ("REGISTER_BROKER_RESPONSE", {"status": "error", "message": "name taken"}, "name taken"),
        ("REGISTER_BROKER_RESPONSE", {"status": "failed"}, "failed"),
        ("REGISTER_BROKER_RESPONSE", {}, "no reason given"),
        ("REGISTER_BROKER_RESPONSE", {"status": True}, "no reason given"),
    ],
)
async def test_a_refusal_ends_the_session(
    *,
    message_type: str,
    fields: dict[str, Any],
    text: str,
    rig: Rig,
    network: Network,
    nursery: trio.Nursery,
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.receive()
    await server.send(message_type, **fields)
    failure = await failure_of(attempt)
    assert failure == f"the server refused the broker: {text}"
    assert await rig.mail() == []


@autojump
async def test_a_refusal_is_the_reason_although_pings_follow(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)

    async def ping() -> None:
        with suppress(ConnectionClosed):
            await server.websocket.ping()

    await server.send("ERROR", text_payload="not today")
    for _ in range(5):
        nursery.start_soon(ping)
    assert "not today" in await failure_of(attempt, CLOSING)


@autojump
async def test_a_registration_that_is_not_answered(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.receive()
    await server.send("SERVER_HEARTBEAT")
    assert "no answer to the registration" in await failure_of(attempt, REGISTER_TIMEOUT)


@autojump
async def test_a_second_answer_that_refuses_ends_the_session(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    await server.send("REGISTER_BROKER_RESPONSE", status="error", message="on second thoughts")
    assert "on second thoughts" in await failure_of(attempt)


@autojump
async def test_a_status_is_requested_at_most_so_often(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    requested = trio.current_time()
    for _ in range(3):
        for _ in range(3):
            rig.status_wanted.set()
        assert (await server.receive())["message_type"] == "REQUEST_AGENT_STATUS"
        assert trio.current_time() - requested == pytest.approx(STATUS_REQUEST_INTERVAL)
        requested = trio.current_time()
    with trio.move_on_after(10 * STATUS_REQUEST_INTERVAL) as nothing_more:
        await server.receive()
    assert nothing_more.cancelled_caught
    rig.status_wanted.set()
    asked = trio.current_time()
    await server.receive()
    assert trio.current_time() == asked, "after a while the next one need not wait"


@autojump
async def test_a_status_wanted_before_the_session_needs_no_request_of_its_own(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    rig.status_wanted.set()
    await server.register()
    with trio.move_on_after(10 * STATUS_REQUEST_INTERVAL) as nothing_more:
        await server.receive()
    assert nothing_more.cancelled_caught


@autojump
async def test_an_error_in_answer_to_a_request_is_nothing_to_speak_of(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    with structlog.testing.capture_logs() as lines:
        await server.send("ERROR", text_payload="unknown message type")
        await wait_all_tasks_blocked()
    assert lines == [
        {"event": "server_error", "log_level": "debug", "error": "unknown message type"}
    ]
    assert not attempt.has_ended


@autojump
async def test_status_updates(rig: Rig, network: Network, nursery: trio.Nursery) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    await rig.mail()
    await server.send("AGENT_STATUS_UPDATE", agents=[], is_full_update=True)
    await wait_all_tasks_blocked()
    assert await rig.mail() == [StatusUpdate({}, is_full=True)]
    await server.send("AGENT_STATUS_UPDATE", agents=[ALICE, {"agent_name": "no id"}, 5])
    await wait_all_tasks_blocked()
    assert await rig.mail() == [StatusUpdate(ALICE_ONLINE.agents, skipped=2)]


@autojump
async def test_an_update_that_is_none_is_ignored(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    await rig.mail()
    with structlog.testing.capture_logs() as lines:
        await server.send("AGENT_STATUS_UPDATE", agents={})
        await server.send("AGENT_STATUS_UPDATE")
        await wait_all_tasks_blocked()
    assert [line["event"] for line in lines] == ["status_update_ignored"] * 2
    assert await rig.mail() == []
    assert not attempt.has_ended


@autojump
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "invalid_json"),
        ("s3cr3t", "invalid_json"),
        ("[1]", "not_an_object"),
        ('{"message_type": null}', "missing_message_type"),
        ('{"message_type": ["s3cr3t"]}', "invalid_field"),
        ("[" * 100_000, "too_deep"),
        (b"s3cr3t", "invalid_json"),
        (b"\xff\xffs3cr3t", "invalid_utf8"),
    ],
)
async def test_a_frame_that_cannot_be_read_is_ignored(
    frame: str | bytes, reason: str, rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    with structlog.testing.capture_logs() as lines:
        await server.websocket.send_message(frame)
        await server.send("PING")
        assert (await server.receive())["message_type"] == "PONG"
    [line] = lines
    assert (line["event"], line["reason"]) == ("frame_ignored", reason)
    assert "s3cr3t" not in str(line)


@autojump
async def test_a_flood_of_rubbish_does_not_flood_the_log(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    with structlog.testing.capture_logs() as lines:
        for number in range(300):
            await server.websocket.send_message(f"rubbish {number}")
            await server.send(f"TYPE_{number}")
        await wait_all_tasks_blocked()
    assert [line["event"] for line in lines].count("frame_ignored") == 1
    assert len(lines) == 100


@autojump
async def test_an_unknown_type_is_logged_once(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await server.send("WEATHER", text_payload="s3cr3t")
            await server.send("X" * 5000)
        await wait_all_tasks_blocked()
    assert [line["event"] for line in lines] == ["frame_type_unknown"] * 2
    assert [line["message_type"] for line in lines] == ["WEATHER", "X" * 100]
    assert "s3cr3t" not in str(lines)


@autojump
async def test_an_idle_server_that_answers_pings_is_alive(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    await trio.sleep(100 * SILENCE)
    assert not attempt.has_ended


@autojump
async def test_a_server_that_talks_but_answers_no_ping_is_alive(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    stream = await registered_by_hand(network, rig)
    for _ in range(10):
        await trio.sleep(0.9 * SILENCE)
        await stream.send_all(text_frame('{"message_type": "SERVER_HEARTBEAT"}'))
    assert not attempt.has_ended
    assert "no frame for 45 s" in await failure_of(attempt, SILENCE + CLOSING)


@autojump
async def test_a_server_that_has_gone_silent_is_dead(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    """TCP stays open, but nobody reads and nobody answers: a connection that is half open."""
    attempt = start(nursery, rig.run)
    await registered_by_hand(network, rig)
    started = trio.current_time()
    assert "no frame for 45 s" in await failure_of(attempt, SILENCE + CLOSING)
    assert trio.current_time() - started >= SILENCE


@autojump
async def test_a_server_that_does_not_read(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    network.wires[0].is_stuck = True
    await server.send("PING")
    assert "did not leave within 10 s" in await failure_of(attempt, SEND_TIMEOUT + CLOSING)


@autojump
async def test_a_server_that_asks_much_and_reads_nothing(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    network.wires[0].is_stuck = True
    for _ in range(200):
        await server.send("PING")
    assert "does not read" in await failure_of(attempt, CLOSING)


@autojump
@pytest.mark.parametrize("limit", [("_UNDECODED_UPDATES", 5), ("_UNDECODED_BYTES", 500)])
async def test_a_server_that_sends_updates_faster_than_they_can_be_decoded(
    limit: tuple[str, int],
    rig: Rig,
    network: Network,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never_decoded(_: Fields) -> Generator[None, None, StatusUpdate | Rejected]:
        while True:
            yield

    monkeypatch.setattr(status_update, "decoding_status_update", never_decoded)
    monkeypatch.setattr(f"broker.central.session.{limit[0]}", limit[1])
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    for _ in range(2):
        await server.send("AGENT_STATUS_UPDATE", agents=[ALICE])
    await trio.sleep(0.1)
    assert not attempt.has_ended
    with suppress(ConnectionClosed):
        for _ in range(10):
            await server.send("AGENT_STATUS_UPDATE", agents=[ALICE])
    assert "faster" in await failure_of(attempt, CLOSING)


@autojump
@pytest.mark.parametrize("code", [1000, 1011])
async def test_the_server_closes(
    code: int, rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    attempt = start(nursery, rig.run)
    server = await network.serve(nursery)
    await server.register()
    await server.websocket.aclose(code)
    assert str(code) in await failure_of(attempt)


@autojump
async def test_the_token_is_in_no_log_line(
    rig: Rig, network: Network, nursery: trio.Nursery
) -> None:
    with structlog.testing.capture_logs() as lines:
        attempt = start(nursery, rig.run)
        server = await network.serve(nursery)
        await server.register()
        await server.websocket.aclose(1011)
        failure = await failure_of(attempt)
    assert [line["event"] for line in lines] == ["registered"]
    assert "t0ps3cr3t" not in f"{lines} {failure}"


def text_frame(text: str) -> bytes:
    """A short text frame as a server sends it."""
    return bytes([0x81, len(text)]) + text.encode()


async def registered_by_hand(network: Network, rig: Rig) -> MemoryStream:
    stream = await network.serve_by_hand()
    answer = {"message_type": "REGISTER_BROKER_RESPONSE", "status": "success"}
    await stream.send_all(text_frame(json.dumps(answer)))
    await wait_all_tasks_blocked()
    assert rig.session is not None
    assert rig.session.is_registered
    return stream
