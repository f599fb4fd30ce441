"""Probes, metrics and status of the real process, in good times and bad ones."""

import json
import os
import signal
import socket
from typing import Any

import pytest
import trio
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.http_client import (
    answer_to,
    ask_for,
    get,
    listening,
    serving,
    until_answered,
)
from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.eventually import PATIENCE, eventually
from tests.lab.limits import alarmed

ANY_PORT = "0"
CHECKS = ("running", "rabbitmq", "alarm", "consumers", "queues", "server", "registry")
NOBODY = "ws://127.0.0.1:9/ws"


def samples(exposition: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


async def fetched(port: int, path: str) -> Any:
    return json.loads((await get(port, path))[1])


async def test_all_is_well(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server)
    async with serving(rig, server.url) as port:
        await until_answered(port, "/readyz", 200)
        assert await get(port, "/livez?verbose") == (
            200,
            "[+]router ok\n[+]amqp ok\nlivez check passed\n",
        )
        assert (await get(port, "/readyz?verbose"))[1].splitlines() == [
            *(f"[+]{name} ok" for name in CHECKS),
            "readyz check passed",
        ]

        await rig.publish(rig.input, *(text(number, agents[0]) for number in range(9)), b"rubbish")
        await rig.take(rig.output, 9)
        await rig.take(rig.dead_letter, 1)

        async def figures() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
            return samples((await get(port, "/metrics"))[1])

        # RabbitMQ hands a message to its reader before it confirms it to the publisher, and a dead
        # letter is counted when it is confirmed.
        rejected = ("broker_dead_lettered_total", (("reason", "invalid_json"),))
        found = await eventually(
            figures,
            "ten confirms, one of them of a dead letter",
            until=lambda found: (
                (found["broker_messages_published_total", ()], found[rejected]) == (10, 1)
            ),
        )
        assert (
            found["broker_messages_received_total", (("queue", rig.input), ("type", "TEXT"))] == 9
        )
        assert found["broker_message_outcomes_total", (("outcome", "routed"),)] == 9
        assert found["broker_messages_routed_total", (("outcome", "routed"),)] == 9
        assert found["broker_routing_seconds_count", ()] == 10
        assert found["broker_publish_confirm_seconds_count", ()] >= 1
        assert found["broker_agents", (("state", "online"),)] == 5
        assert found["broker_connected", (("transport", "amqp"),)] == 1
        assert found["broker_ready", ()] == 1
        assert found["process_open_fds", ()] > 0

        status = await fetched(port, "/status")
        assert (status["state"], status["ready"]) == ("routing", True)
        assert status["broker_id"] == "broker-1"
        assert status["registry"]["online"] == 5
        assert status["dead_letters"]["by_reason"] == {"invalid_json": 1}
        (note,) = status["dead_letters"]["latest"]
        assert (note["reason"], note["queue"]) == ("invalid_json", rig.input)

        listed = await fetched(port, "/agents?search=AGENT_&limit=2")
        assert (listed["known"], listed["matching"], len(listed["agents"])) == (5, 5, 2)
        everyone = (await fetched(port, "/agents"))["agents"]
        assert sum(agent["routed"] for agent in everyone) == 9
        assert {agent["agent_id"] for agent in everyone if agent["routed"]} <= set(agents[1:])


async def test_wrong_requests_get_an_answer_that_says_so(rig: Rig, server: CentralServer) -> None:
    async with serving(rig, server.url) as port:
        for limit in ("0", "1001", "many", "-1", ""):
            assert (await get(port, f"/agents?limit={limit}"))[0] == 400
        for query in ("offset=-1", "online=perhaps", f"capability={'x' * 256}"):
            status, said = await get(port, f"/agents?{query}")
            assert (status, said.split()[0]) == (400, query.partition("=")[0])
        assert (await get(port, "/nothing"))[0] == 404
        assert (await get(port, "/explain"))[0] == 405
        more_than_any_buffer = 8_000_000
        for rubbish, status in (
            (b"\x00\xff" * 40_000, 400),
            (b"\x00" * more_than_any_buffer, 400),
            (b"GET / HTTP/1.1\r\nA" * 9_000, 431),
            (b"PRI * HTTP/2.0\r\n", 400),
            (b"OPTIONS /explain HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n", 405),
            (b"POST /explain HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 415),
            (
                b"POST /status HTTP/1.1\r\nHost: x\r\n"
                + f"Content-Length: {more_than_any_buffer}\r\n\r\n".encode()
                + b"x" * more_than_any_buffer,
                405,
            ),
        ):
            assert (await answer_to(port, rubbish)).startswith(f"HTTP/1.1 {status}"), rubbish[:40]
        await until_answered(port, "/livez", 200)


async def test_an_absent_server_is_no_reason_to_be_restarted_but_to_be_unready(rig: Rig) -> None:
    async with serving(rig, NOBODY) as port:
        consumers = f"[-]consumers RabbitMQ has no consumer of {rig.input}\n"
        answer = await until_answered(port, "/readyz", 503, consumers)
        assert "[+]rabbitmq ok" in answer
        assert "[-]server " in answer
        assert "[-]registry no status update yet" in answer
        assert (await get(port, "/livez"))[0] == 200
        assert (await fetched(port, "/status"))["state"] == "paused"


async def test_an_absent_server_leaves_the_broker_ready_until_the_registry_is_stale(
    rig: Rig,
) -> None:
    async with open_central_server() as server:
        bring_online(server)
        async with serving(rig, server.url, BROKER_REGISTRY_TTL="1") as port:
            await until_answered(port, "/readyz", 200)
            server.accepting = False
            server.drop_sessions()
            await until_answered(port, "/readyz", 503, "[-]server ")
            await until_answered(port, "/readyz", 503, "[-]registry the server has been gone")
            word = '"word":"Paused: no connection to the central server"'
            await until_answered(port, "/status", 200, word)
            paused = json.loads(await until_answered(port, "/status", 200, '"paused_since":"'))
            assert paused["pauses_at"] is None
            await rig.logged("server_unavailable")
            server.accepting = True
            await until_answered(port, "/readyz", 200)
            found = samples((await get(port, "/metrics"))[1])
            websocket = (("transport", "websocket"),)
            assert found["broker_connections_lost_total", websocket] == 1
            assert found["broker_connection_tries_failed_total", websocket] >= 1
            assert found["broker_reconnects_total", websocket] == (
                1 + found["broker_connection_tries_failed_total", websocket]
            )


async def test_an_alarm_and_a_stop_show_at_once(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server)
    server.accepting = False
    settings = {"BROKER_HTTP_PORT": ANY_PORT, "BROKER_SHUTDOWN_TIMEOUT": "60"}
    async with rig.broker(server.url, **settings) as broker:
        port = await listening(rig)
        await until_answered(port, "/readyz", 503, "[+]rabbitmq ok")
        await rig.publish(rig.input, text(1, agents[0]))
        async with alarmed(rig.node):
            # RabbitMQ blocks who publishes, and the broker does so once it may route.
            server.accepting = True
            await until_answered(port, "/readyz", 503, "[-]alarm RabbitMQ blocks publishing")
            metrics = (await get(port, "/metrics"))[1]
            assert "broker_amqp_blocked 1.0\n" in metrics
            assert "broker_in_flight_messages 1.0\n" in metrics

            # The message cannot be settled now, so the stop takes its time.
            os.kill(broker.pid, signal.SIGTERM)
            await until_answered(port, "/readyz", 503, "[-]running a stop was requested")
            assert (await fetched(port, "/status"))["state"] == "stopping"
        with trio.fail_after(PATIENCE):
            assert await broker.wait() == 0
    assert ids(await rig.take(rig.output, 1)) == ["m-1"]


async def test_a_taken_port_harms_nothing_and_is_served_once_it_is_free(
    rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with rig.broker(server.url, BROKER_HTTP_PORT=str(port)) as broker:
            (line, *_) = await rig.logged("http_failed")
            assert line["error"] == "Address already in use"
            assert line["address"] == f"127.0.0.1:{port}"
            await rig.logged("routing_started")
            await rig.publish(rig.input, text(1, agents[0]))
            assert ids(await rig.take(rig.output, 1)) == ["m-1"]
            taken.close()
            assert await listening(rig) == port
            await until_answered(port, "/readyz", 200)
            assert await terminate(broker, within=12) == 0


def roles(queues: list[dict[str, Any]]) -> dict[str, tuple[str, int, int]]:
    return {one["role"]: (one["name"], one["messages"], one["consumers"]) for one in queues}


async def test_each_queue_is_in_sight(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server)
    async with serving(rig, server.url) as port:
        await until_answered(port, "/readyz", 200)
        await rig.publish(rig.input, *(text(number, agents[0]) for number in range(9)), b"rubbish")
        seen = {
            "input": (rig.input, 0, 1),
            "output": (rig.output, 9, 0),
            "dead_letter": (rig.dead_letter, 1, 0),
        }
        # One look asks for one queue after the other, while messages go from one to the next.
        await eventually(
            lambda: fetched(port, "/status"),
            f"/status shows {seen}",
            until=lambda status: roles(status["queues"]) == seen,
        )
        metrics = (await get(port, "/metrics"))[1]
        waiting = f'broker_queue_messages{{queue="{rig.output}",role="output"}} 9.0\n'
        assert waiting in metrics
        assert f'broker_queue_consumers{{queue="{rig.input}",role="input"}} 1.0\n' in metrics

        asked = {"Accept": "application/openmetrics-text;version=none;q=0.75,text/plain;q=0.5"}
        _, kind, document = await trio.to_thread.run_sync(ask_for, port, "/metrics", asked)
        assert kind.startswith("application/openmetrics-text; version=1.0.0")
        parse = openmetrics.text_string_to_metric_families
        families = {family.name for family in parse(document)}  # type: ignore[no-untyped-call]
        assert {"broker_queue_messages", "broker_routing_seconds", "broker_build"} <= families
        assert waiting in document


@pytest.mark.exhaustive
async def test_that_nobody_reads_is_the_headline(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server)
    async with serving(rig, server.url) as port:
        await until_answered(port, "/readyz", 200)
        await rig.publish(rig.input, *(text(number, agents[0]) for number in range(9)))
        word = f'"word":"Routing, but nobody reads {rig.output}: 9 waiting"'
        assert json.loads(await until_answered(port, "/status", 200, word))["ready"]
        await rig.take(rig.output, 9)
        await until_answered(port, "/status", 200, '"word":"Routing"')


@pytest.mark.exhaustive
async def test_who_does_not_read_does_not_hold_up_the_stop(rig: Rig, server: CentralServer) -> None:
    bring_online(server, number=2_000)
    async with rig.broker(server.url, BROKER_HTTP_PORT=ANY_PORT) as broker:
        port = await listening(rig)
        await until_answered(port, "/readyz", 200)
        watching = await trio.open_tcp_stream("127.0.0.1", port)
        await watching.send_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        await receive_until(b"event: status", watching)
        deaf = trio.socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await deaf.connect(("127.0.0.1", port))
        await deaf.send(b"GET /agents?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        await until_answered(port, "/livez", 200)
        assert await terminate(broker, within=8) == 0
        deaf.close()
        await watching.aclose()


async def receive_until(wanted: bytes, stream: trio.SocketStream) -> None:
    received = b""
    with trio.fail_after(PATIENCE):
        while wanted not in received:
            received += await stream.receive_some()
