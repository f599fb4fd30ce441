"""What the broker says in a session, what it understands, and when it gives up."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from broker.concurrency.cooperation import let_others_run
from broker.core.messages import AgentStatus, BrokerRegistered, StatusUpdate
from tests.central.session_rig import TERMS, Rig
from tests.lab.autojump import autojump
from tests.lab.websocket_frames import text
from tests.lab.websocket_peers import CLOSING, Attempt, MemoryStream, Server, start

SMALL, LARGE = 100, 2_000_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALICE = {
    "agent_id": "alice",
    "agent_name": "Alice",
    "is_online": True,
    "last_seen": "2026-01-01T12:00:00Z",
}
ALICE_ONLINE = StatusUpdate({"alice": AgentStatus("alice", "Alice", True, NOON)})


@autojump
async def test_registration(rig: Rig, stranger: Server, attempt: Attempt) -> None:
    assert await stranger.receive() == {"message_type": "REGISTER_BROKER", "broker_name": "Broker"}
    was_accepted = rig.accepted.is_set()
    await stranger.send("REGISTER_BROKER_RESPONSE", status="success", broker_id="named")
    request = dict(await stranger.receive())
    assert request.pop("timestamp")
    assert request == {"message_type": "REQUEST_AGENT_STATUS", "sender_id": "named"}
    assert (was_accepted, rig.accepted.is_set()) == (False, True)
    assert rig.session is not None
    assert rig.session.broker_id == "named"
    assert await rig.heard() == [BrokerRegistered("named")]
    await attempt.cancelled()


@autojump
@pytest.mark.parametrize("broker_id", [None, "", 17, ["named"], "x" * 256, "€" * 86, "€" * 85])
async def test_registered_without_a_usable_id_it_keeps_its_own(
    broker_id: object, rig: Rig, stranger: Server
) -> None:
    """An id travels as AMQP's `app_id`, which takes 255 bytes: more would stop all publishing."""
    kept = broker_id if broker_id == "€" * 85 else "broker_0001"
    await stranger.receive()
    await stranger.send("REGISTER_BROKER_RESPONSE", status="success", broker_id=broker_id)
    assert (await stranger.receive())["sender_id"] == kept
    assert await rig.heard() == [BrokerRegistered(str(kept))]


@autojump
async def test_before_the_answer_updates_and_heartbeats_are_dealt_with(
    rig: Rig, stranger: Server
) -> None:
    await stranger.receive()
    await stranger.send("AGENT_STATUS_UPDATE", agents=[ALICE])
    for message_type in ("SERVER_HEARTBEAT", "PING"):
        await stranger.send(message_type)
        assert await stranger.receive() == {"message_type": "PONG", "broker_id": "broker_0001"}
    assert await rig.heard() == [ALICE_ONLINE]
    await stranger.send("REGISTER_BROKER_RESPONSE", status="success", broker_id="named")
    assert (await stranger.receive())["message_type"] == "REQUEST_AGENT_STATUS"
    assert await rig.heard() == [BrokerRegistered("named")]


@autojump
async def test_a_large_update_delays_no_pong(rig: Rig, server: Server) -> None:
    agents = [{"agent_id": str(number), "is_online": True} for number in range(5000)]
    await server.send("AGENT_STATUS_UPDATE", agents=agents)
    await server.send("PING")
    sent_at = trio.current_time()
    assert (await server.receive())["message_type"] == "PONG"
    assert trio.current_time() == sent_at
    update = await rig.news.receive()
    assert trio.current_time() > sent_at, "it is decoded in slices, with pauses between them"
    assert isinstance(update, StatusUpdate)
    assert len(update.agents) == 5000


@autojump
@pytest.mark.parametrize(("size", "pauses"), [(SMALL, 0), (LARGE, 2)])
async def test_a_large_frame_lets_others_run_before_each_pass_over_it(
    size: int, pauses: int, rig: Rig, server: Server
) -> None:
    started = trio.current_time()
    await let_others_run()
    pause = trio.current_time() - started
    sent_at = trio.current_time()
    await server.send("AGENT_STATUS_UPDATE", agents=[ALICE], padding="x" * size)
    assert await rig.news.receive() == ALICE_ONLINE
    assert trio.current_time() - sent_at == pytest.approx(pauses * pause)


@autojump
async def test_a_busy_router_delays_no_pong(rig: Rig) -> None:
    rig.make_room(0)
    start(rig.nursery, rig.run)
    server = await rig.serve()
    await server.register()
    started = trio.current_time()
    for number in range(200):
        await server.send("AGENT_STATUS_UPDATE", agents=[{"agent_id": str(number)}])
        await server.send("PING")
        assert (await server.receive())["message_type"] == "PONG"
    assert trio.current_time() == started
    assert await rig.news.receive() == BrokerRegistered("named")
    for number in range(200):
        update = await rig.news.receive()
        assert isinstance(update, StatusUpdate)
        assert list(update.agents) == [str(number)]


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
    stranger: Server,
    attempt: Attempt,
) -> None:
    await stranger.receive()
    await stranger.send(message_type, **fields)
    assert await attempt.failure() == f"the server refused the broker: {text}"
    assert await rig.heard() == []


@autojump
async def test_a_refusal_is_the_reason_although_pings_follow(
    nursery: trio.Nursery, stranger: Server, attempt: Attempt
) -> None:
    async def ping() -> None:
        with suppress(ConnectionClosed):
            await stranger.websocket.ping()

    await stranger.send("ERROR", text_payload="not today")
    for _ in range(5):
        nursery.start_soon(ping)
    assert "not today" in await attempt.failure(CLOSING)


@autojump
async def test_a_registration_that_is_not_answered(stranger: Server, attempt: Attempt) -> None:
    await stranger.receive()
    await stranger.send("SERVER_HEARTBEAT")
    assert "no answer to the registration" in await attempt.failure(TERMS.register_timeout)


@autojump
async def test_a_second_answer_may_refuse(server: Server, attempt: Attempt) -> None:
    await server.send("REGISTER_BROKER_RESPONSE", status="error", message="on second thoughts")
    assert "on second thoughts" in await attempt.failure()


async def assert_says_nothing(server: Server) -> None:
    with trio.move_on_after(10 * TERMS.status_interval) as waiting:
        await server.receive()
    assert waiting.cancelled_caught


@autojump
async def test_a_status_is_requested_at_most_so_often(rig: Rig, server: Server) -> None:
    requested = trio.current_time()
    for _ in range(3):
        for _ in range(3):
            rig.status_wanted.set()
        assert (await server.receive())["message_type"] == "REQUEST_AGENT_STATUS"
        assert trio.current_time() - requested == pytest.approx(TERMS.status_interval)
        requested = trio.current_time()
    await assert_says_nothing(server)
    rig.status_wanted.set()
    asked = trio.current_time()
    await server.receive()
    assert trio.current_time() == asked, "after a while the next one need not wait"


@autojump
async def test_a_status_wanted_before_the_session_needs_no_request_of_its_own(
    rig: Rig, stranger: Server
) -> None:
    rig.status_wanted.set()
    await stranger.register()
    await assert_says_nothing(stranger)


@autojump
async def test_an_error_in_answer_to_a_request_is_nothing_to_speak_of(
    server: Server, attempt: Attempt
) -> None:
    with structlog.testing.capture_logs() as lines:
        await server.send("ERROR", text_payload="unknown message type")
        await wait_all_tasks_blocked()
    assert lines == [
        {"event": "server_error", "log_level": "debug", "error": "unknown message type"}
    ]
    assert not attempt.has_ended


@autojump
async def test_status_updates(rig: Rig, server: Server) -> None:
    await server.send("AGENT_STATUS_UPDATE", agents=[], is_full_update=True)
    assert await rig.heard() == [StatusUpdate({}, is_full=True)]
    await server.send("AGENT_STATUS_UPDATE", agents=[ALICE, {"agent_name": "no id"}, 5])
    assert await rig.heard() == [StatusUpdate(ALICE_ONLINE.agents, skipped=2)]


@autojump
async def test_an_update_that_is_none_is_ignored(rig: Rig, server: Server) -> None:
    with structlog.testing.capture_logs() as lines:
        await server.send("AGENT_STATUS_UPDATE", agents={})
        await server.send("AGENT_STATUS_UPDATE")
        await server.send("AGENT_STATUS_UPDATE", agents=[ALICE])
        assert await rig.heard() == [ALICE_ONLINE]
    assert [line["event"] for line in lines] == ["status_update_ignored"] * 2


@autojump
@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "invalid_json"),
        ("s3cr3t", "invalid_json"),
        ("[1]", "not_an_object"),
        ('{"message_type": null}', "missing_message_type"),
        ('{"message_type": ["s3cr3t"]}', "invalid_field"),
        ("[" * 1_000_000, "too_deep"),
        (b"s3cr3t", "invalid_json"),
        (b"\xff\xffs3cr3t", "invalid_utf8"),
    ],
)
async def test_a_frame_that_cannot_be_read_is_ignored(
    frame: str | bytes, reason: str, server: Server
) -> None:
    with structlog.testing.capture_logs() as lines:
        await server.websocket.send_message(frame)
        await server.send("PING")
        assert (await server.receive())["message_type"] == "PONG"
    [line] = lines
    assert (line["event"], line["reason"]) == ("frame_ignored", reason)
    assert "s3cr3t" not in str(line)


@autojump
async def test_a_flood_of_rubbish_does_not_flood_the_log(server: Server) -> None:
    with structlog.testing.capture_logs() as lines:
        for number in range(300):
            await server.websocket.send_message(f"rubbish {number}")
            await server.send(f"TYPE_{number}")
        await wait_all_tasks_blocked()
    assert [line["event"] for line in lines].count("frame_ignored") == 1
    assert len(lines) == 100


@autojump
async def test_an_unknown_type_is_logged_once(server: Server) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await server.send("WEATHER", text_payload="s3cr3t")
            await server.send("X" * 5000)
        await wait_all_tasks_blocked()
    assert lines == [
        {"event": "frame_type_unknown", "log_level": "info", "message_type": shown}
        for shown in ("WEATHER", "X" * 100)
    ]


@autojump
async def test_an_idle_server_that_answers_pings_is_alive(server: Server) -> None:
    await trio.sleep(100 * TERMS.silence)
    await server.send("PING")
    assert (await server.receive())["message_type"] == "PONG"


@autojump
async def test_a_server_that_talks_but_answers_no_ping_is_alive(rig: Rig, attempt: Attempt) -> None:
    stream = await registered_by_hand(rig)
    for _ in range(10):
        await trio.sleep(0.9 * TERMS.silence)
        await stream.send_all(text({"message_type": "SERVER_HEARTBEAT"}))
    assert not attempt.has_ended
    assert "no frame for 45 s" in await attempt.failure(TERMS.silence + CLOSING)


@autojump
async def test_a_server_that_has_gone_silent_is_dead(rig: Rig, attempt: Attempt) -> None:
    """TCP stays open, but nobody reads and nobody answers: a connection that is half open."""
    await registered_by_hand(rig)
    started = trio.current_time()
    assert "no frame for 45 s" in await attempt.failure(TERMS.silence + CLOSING)
    assert trio.current_time() - started >= TERMS.silence


@autojump
async def test_a_server_that_does_not_read(rig: Rig, server: Server, attempt: Attempt) -> None:
    rig.wires[0].is_stuck = True
    await server.send("PING")
    assert "could not be sent within 10 s" in await attempt.failure(TERMS.send_timeout + CLOSING)


@autojump
async def test_a_server_that_asks_much_and_reads_nothing(
    rig: Rig, server: Server, attempt: Attempt
) -> None:
    rig.wires[0].is_stuck = True
    for _ in range(200):
        await server.send("PING")
    assert "does not read" in await attempt.failure(CLOSING)


@autojump
async def test_a_server_that_sends_updates_faster_than_they_can_be_applied(rig: Rig) -> None:
    rig.make_room(0)
    rig.terms = replace(TERMS, max_backlog_bytes=10_000)
    attempt = start(rig.nursery, rig.run)
    server = await rig.serve()
    await server.register()
    await server.send("AGENT_STATUS_UPDATE", agents=[ALICE], padding="x" * 50_000)
    await trio.sleep(0.1)
    assert not attempt.has_ended, "one may be larger than the limit"
    with suppress(ConnectionClosed):
        for _ in range(10):
            await server.send("AGENT_STATUS_UPDATE", agents=[ALICE])
    assert "faster" in await attempt.failure(CLOSING)


@autojump
async def test_the_server_closes(server: Server, attempt: Attempt) -> None:
    await server.websocket.aclose(1011)
    assert "1011" in await attempt.failure()


async def registered_by_hand(rig: Rig) -> MemoryStream:
    stream = await rig.serve_by_hand()
    answer = {"message_type": "REGISTER_BROKER_RESPONSE", "status": "success"}
    await stream.send_all(text(answer))
    await wait_all_tasks_blocked()
    assert rig.accepted.is_set()
    return stream
