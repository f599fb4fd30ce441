import json
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection

from broker.central.address import ServerAddress
from broker.central.websocket import WebSocketError, open_websocket
from broker.core.messages import AgentStatus
from broker.sandbox.central_server import HOST, Message
from tests.lab.autojump import autojump
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.websocket_peers import start
from tests.sandbox.processes import PATIENCE

ALICE = AgentStatus(
    "alice", "Alice", is_online=True, last_seen=datetime(2026, 1, 1, 12, tzinfo=UTC)
)
RIGHT, WRONG = "right", "wrong"
REGISTER = {"message_type": "REGISTER_BROKER", "broker_name": "b"}


def connect(
    server: CentralServer, *, path: str = "", token: str | None = None
) -> AbstractAsyncContextManager[WebSocketConnection]:
    return open_websocket(ServerAddress(server.url + path, token))


async def assert_refused(
    server: CentralServer, says: str, *, path: str = "", token: str | None = None
) -> None:
    with pytest.raises(WebSocketError, match=says):
        await connect(server, path=path, token=token).__aenter__()


async def receive(broker: WebSocketConnection) -> dict[str, Any]:
    with trio.fail_after(PATIENCE):
        message: dict[str, Any] = json.loads(await broker.get_message())
    return message


async def register(broker: WebSocketConnection) -> dict[str, Any]:
    """Register, and return the response; the full update that follows it is taken, too."""
    await broker.send_message(json.dumps(REGISTER))
    response = await receive(broker)
    assert (await receive(broker))["is_full_update"] is True
    return response


async def closed_with(broker: WebSocketConnection) -> int | None:
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await broker.get_message()
            except ConnectionClosed as closed:
                return closed.reason.code if closed.reason else None


async def test_registration_and_status_requests_are_answered_by_all_agents() -> None:
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
            assert update["message_type"] == "AGENT_STATUS_UPDATE"
            assert update["is_full_update"] is True
            assert msgspec.convert(update["agents"], list[AgentStatus]) == [ALICE]
            assert server.session_count == 1
            assert list(server.received) == [REGISTER]

            server.update(ALICE)
            await receive(broker)
            await broker.send_message('{"message_type": "REQUEST_AGENT_STATUS", "sender_id": "b"}')
            assert await receive(broker) == update


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

        with trio.fail_after(PATIENCE):
            await server.heard("PONG", times=2)


async def test_nothing_is_sent_before_the_registration() -> None:
    async with open_central_server() as server, connect(server) as broker:
        await broker.send_message('{"message_type": "PONG"}')
        with trio.fail_after(PATIENCE):
            await server.heard("PONG")
        server.send("lost")
        server.update(ALICE)

        await broker.send_message(json.dumps(REGISTER))

        assert (await receive(broker))["message_type"] == "REGISTER_BROKER_RESPONSE"


async def test_who_is_refused() -> None:
    async with open_central_server(token=RIGHT) as server:
        await assert_refused(server, "401")
        await assert_refused(server, "401", token=WRONG)
        await assert_refused(server, "404", path="x", token=RIGHT)
        server.accepting = False
        await assert_refused(server, "503", token=RIGHT)
        server.accepting = True
        async with connect(server, token=RIGHT) as broker:
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


async def test_a_paused_server_has_no_broker_until_it_goes_on() -> None:
    async with open_central_server() as server:
        async with connect(server) as broker:
            await register(broker)
            server.pause()
            assert server.session_count == 0
            assert await closed_with(broker) == 1001
        await assert_refused(server, "503")
        server.resume()
        async with trio.open_nursery() as nursery, connect(server) as broker:
            nursery.start_soon(server.has_broker)
            await register(broker)
        assert server.serving.is_open


async def test_the_end_of_the_server_closes_its_sessions_and_its_listener(
    nursery: trio.Nursery,
) -> None:
    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    server = CentralServer(listener.socket.getsockname()[1])
    serving = start(nursery, partial(server.run, [listener]))
    async with connect(server) as broker:
        await register(broker)
        serving.scope.cancel()
        assert await closed_with(broker) == 1001
    await assert_refused(server, "connection refused")


async def test_a_broker_that_is_refused_has_no_session() -> None:
    def refuse(_: object, message: Message) -> Iterable[Message]:
        yield {"message_type": "REGISTER_BROKER_RESPONSE", "status": "error", "was": message}

    async with open_central_server(answer=refuse) as server, connect(server) as broker:
        await broker.send_message(json.dumps(REGISTER))
        assert (await receive(broker))["was"] == REGISTER
        assert server.session_count == 0


async def test_a_broker_that_does_not_read_is_dropped() -> None:
    async with open_central_server() as server, connect(server) as broker:
        await register(broker)
        for _ in range(2000):  # without a chance to write any of them
            server.send("x")
        assert await closed_with(broker) == 1006


@autojump
@pytest.mark.parametrize("garbage", [b"", b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_peer_that_speaks_something_else_disturbs_nobody(garbage: bytes) -> None:
    stranger, stream = memory_stream_pair()
    await stranger.send_all(garbage)
    await CentralServer(1).serve(stream)
    while await stranger.receive_some(10_000):
        pass
