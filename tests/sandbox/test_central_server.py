import json
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from broker.central.address import ServerAddress
from broker.central.websocket import WebSocketError, open_websocket
from broker.core.messages import AgentStatus
from broker.sandbox import central_server
from broker.sandbox.central_server import CentralServer, Message, open_central_server

LIMIT = 20.0
"""Nothing here takes this long; it turns a hang into a failure."""

ALICE = AgentStatus(
    "alice", "Alice", is_online=True, last_seen=datetime(2026, 1, 1, 12, tzinfo=UTC)
)
RIGHT = "right"
REGISTER = {"message_type": "REGISTER_BROKER", "broker_name": "b"}


def connect(
    server: CentralServer, *, path: str = "", token: str | None = None
) -> AbstractAsyncContextManager[WebSocketConnection]:
    return open_websocket(ServerAddress(server.url + path, token))


async def assert_refused(
    server: CentralServer, says: str, *, path: str = "", token: str | None = None
) -> None:
    with pytest.raises(WebSocketError, match=says):
        async with connect(server, path=path, token=token):
            raise AssertionError("not reached")


async def receive(broker: WebSocketConnection) -> dict[str, Any]:
    with trio.fail_after(LIMIT):
        message: dict[str, Any] = json.loads(await broker.get_message())
    return message


async def register(broker: WebSocketConnection) -> dict[str, Any]:
    """Register, and return the response; the full update that follows it is taken, too."""
    await broker.send_message(json.dumps(REGISTER))
    response = await receive(broker)
    assert (await receive(broker))["is_full_update"] is True
    return response


async def closed_with(broker: WebSocketConnection) -> int | None:
    with trio.fail_after(LIMIT):
        while True:
            try:
                await broker.get_message()
            except ConnectionClosed as closed:
                return closed.reason.code if closed.reason else None


async def test_registration_names_the_broker_and_tells_all_agents() -> None:
    async with open_central_server() as server:
        server.update(ALICE)
        async with connect(server) as broker:
            await broker.send_message(json.dumps(REGISTER))
            response, update = await receive(broker), await receive(broker)

            assert response == {
                "message_type": "REGISTER_BROKER_RESPONSE",
                "status": "success",
                "broker_id": "broker-1",
            }
            assert update == {
                "message_type": "AGENT_STATUS_UPDATE",
                "is_full_update": True,
                "agents": [
                    {
                        "agent_id": "alice",
                        "agent_name": "Alice",
                        "is_online": True,
                        "last_seen": "2026-01-01T12:00:00Z",
                    }
                ],
            }
            assert server.session_count == 1
            assert list(server.received) == [REGISTER]


async def test_each_broker_has_an_id_of_its_own_and_learns_of_changes() -> None:
    async with open_central_server() as server, connect(server) as one, connect(server) as two:
        ids = {(await register(broker))["broker_id"] for broker in (one, two)}
        assert len(ids) == server.session_count == 2

        server.update(ALICE)

        for broker in (one, two):
            update = await receive(broker)
            assert update["is_full_update"] is False
            assert [agent["agent_id"] for agent in update["agents"]] == ["alice"]
        assert server.agents == {"alice": ALICE}


async def test_a_status_request_is_answered_by_a_full_update() -> None:
    async with open_central_server() as server, connect(server) as broker:
        await register(broker)
        server.update(ALICE)
        await receive(broker)

        await broker.send_message('{"message_type": "REQUEST_AGENT_STATUS", "sender_id": "b"}')

        update = await receive(broker)
        assert update["is_full_update"] is True
        assert len(update["agents"]) == 1


@pytest.mark.parametrize("frame", ['{"message_type": "WHAT"}', "{", "[1]", "[" * 100_000, b"\xff"])
async def test_anything_else_is_recorded_and_answered_by_an_error(frame: str | bytes) -> None:
    async with open_central_server() as server, connect(server) as broker:
        await broker.send_message(frame)

        assert (await receive(broker))["message_type"] == "ERROR"
        [recorded] = server.received
        assert recorded in ({"message_type": "WHAT"}, {"frame": frame})
        assert server.session_count == 0


async def test_heartbeats_and_pongs() -> None:
    async with open_central_server(heartbeat_interval=0.01) as server, connect(server) as broker:
        await register(broker)
        for _ in range(2):
            assert (await receive(broker))["message_type"] == "SERVER_HEARTBEAT"
            await broker.send_message('{"message_type": "PONG", "broker_id": "broker-1"}')

        with trio.fail_after(LIMIT):
            await server.heard("PONG", times=2)


async def test_nothing_is_sent_before_the_registration() -> None:
    async with open_central_server() as server, connect(server) as broker:
        await broker.send_message('{"message_type": "PONG"}')
        with trio.fail_after(LIMIT):
            await server.heard("PONG")
        server.send("lost")
        server.update(ALICE)

        await broker.send_message(json.dumps(REGISTER))

        assert (await receive(broker))["message_type"] == "REGISTER_BROKER_RESPONSE"


async def test_an_arbitrary_frame() -> None:
    async with open_central_server() as server, connect(server) as broker:
        await register(broker)
        server.send("{not json")
        with trio.fail_after(LIMIT):
            assert await broker.get_message() == "{not json"


@pytest.mark.parametrize(("token", "refused"), [(None, True), ("wrong", True), (RIGHT, False)])
async def test_token(token: str | None, *, refused: bool) -> None:
    async with open_central_server(token=RIGHT) as server:
        if refused:
            await assert_refused(server, "401", token=token)
        else:
            async with connect(server, token=token) as broker:
                await register(broker)


async def test_another_path_is_not_found() -> None:
    async with open_central_server() as server:
        await assert_refused(server, "404", path="x")


async def test_it_may_turn_brokers_away_for_a_while() -> None:
    async with open_central_server() as server:
        server.accepting = False
        await assert_refused(server, "503")

        server.accepting = True
        async with connect(server) as broker:
            await register(broker)


@pytest.mark.parametrize(("code", "seen"), [(None, 1006), (1001, 1001), (1009, 1009)])
async def test_dropped_sessions(code: int | None, seen: int) -> None:
    async with open_central_server() as server:
        async with connect(server) as broker:
            await register(broker)
            server.drop_sessions(code)
            assert await closed_with(broker) == seen
        async with connect(server) as broker:
            assert (await register(broker))["broker_id"] == "broker-2"
            assert server.session_count == 1


async def test_the_end_of_the_server_closes_its_sessions() -> None:
    async with trio.open_nursery() as nursery:
        stop = trio.Event()

        async def serve(
            task_status: trio.TaskStatus[CentralServer] = trio.TASK_STATUS_IGNORED,
        ) -> None:
            async with open_central_server() as server:
                task_status.started(server)
                await stop.wait()

        server = await nursery.start(serve)
        async with connect(server) as broker:
            await register(broker)
            stop.set()
            assert await closed_with(broker) == 1001


async def test_a_server_that_answers_in_another_way() -> None:
    def refuse(_: CentralServer, message: Message) -> Iterable[Message]:
        yield {"message_type": "REGISTER_BROKER_RESPONSE", "status": "error", "was": message}

    async with open_central_server(answer=refuse) as server, connect(server) as broker:
        await broker.send_message(json.dumps(REGISTER))
        assert (await receive(broker))["was"] == REGISTER
        assert server.session_count == 0


async def test_a_broker_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(central_server, "_UNSENT_FRAMES", 2)
    async with open_central_server() as server, connect(server) as broker:
        await register(broker)
        for _ in range(4):  # without a chance to write any of them
            server.send("x")
        assert await closed_with(broker) == 1006


@pytest.mark.parametrize("garbage", [b"", b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_peer_that_speaks_something_else_disturbs_nobody(
    garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(central_server, "_HANDSHAKE_TIMEOUT", 0.5)
    async with open_central_server() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        async with await trio.open_tcp_stream(central_server.HOST, port) as stranger:
            await stranger.send_all(garbage)
            with trio.fail_after(LIMIT):
                while await stranger.receive_some():
                    pass
        monkeypatch.undo()
        async with connect(server) as broker:
            await register(broker)


async def test_a_listener_closes_with_its_server() -> None:
    async with open_central_server() as server:
        pass
    await assert_refused(server, "failed")
