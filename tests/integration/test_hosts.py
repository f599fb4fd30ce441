"""Lists of RabbitMQ nodes, of which some do not answer."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
import trio
from yarl import URL

from broker.amqp import (
    AmqpEndpoint,
    AmqpLink,
    Deliveries,
    SessionParameters,
    connection,
    open_rabbit,
)
from broker.concurrency.wakeup import Gate
from broker.net.backoff import Backoff
from broker.net.endpoints import parse_amqp_urls
from tests.faults.proxy import open_proxy
from tests.integration.rig import PATIENCE, Rig, bring_online, ids, text
from tests.lab.black_hole import black_hole
from tests.lab.central_server import CentralServer
from tests.lab.rabbitmq_node import RabbitmqNode

CONNECT_TIMEOUT = 3.0


def nowhere(_: Deliveries) -> None:
    raise AssertionError("nothing is delivered")


def never() -> float:
    raise AssertionError("nothing is waited for before all nodes have failed")


def as_given(_: list[SessionParameters]) -> None:
    pass


@contextmanager
def port_without_listener() -> Iterator[int]:
    """Yield a port that refuses, and that nobody else gets meanwhile."""
    with socket.socket() as keeper:
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


async def test_the_next_node_is_tried_at_once(
    rabbitmq: RabbitmqNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", CONNECT_TIMEOUT)
    (there,) = parse_amqp_urls(rabbitmq.url)
    with (
        structlog.testing.capture_logs() as lines,
        port_without_listener() as refusing,
        black_hole() as silent,
    ):
        endpoints = [
            AmqpEndpoint("127.0.0.1", port, "me", "s3cr3t", "/", tls=False)
            for port in (refusing, silent)
        ]
        with trio.fail_after(PATIENCE):
            async with open_rabbit() as rabbit, trio.open_nursery() as nursery:
                link = AmqpLink(
                    rabbit.open_session,
                    sessions=[SessionParameters(one, name="test") for one in (*endpoints, there)],
                    gated_queues=(),
                    other_queues=(),
                    consumption=Gate(),
                    backoff=Backoff(random=never),
                    shuffle=as_given,
                )
                nursery.start_soon(link.run, nowhere)
                while not link.connectivity.is_connected:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()

    refused, timed_out = (line for line in lines if line["event"] == "amqp_lost")
    assert refused["endpoint"] == str(endpoints[0])
    assert timed_out["endpoint"] == str(endpoints[1])
    assert "Connect call failed" in refused["error"]
    assert timed_out["error"].endswith("no answer in time")
    assert refused["retry_in_seconds"] == timed_out["retry_in_seconds"] == 0


async def test_a_broker_works_with_the_node_that_is_there(rig: Rig, server: CentralServer) -> None:
    bring_online(server)
    there = URL(rig.node.url)
    assert there.port is not None
    with port_without_listener() as refusing:
        async with open_proxy(there.port) as proxy:
            urls = f"{there.with_port(refusing)},{there.with_port(proxy.port)}"
            async with rig.broker(server.url, AMQP_URL=urls):
                for times in range(1, 4):
                    await rig.logged("routing_started", times)
                    await rig.publish(rig.input, text(times, "agent_0"))
                    with trio.fail_after(PATIENCE):
                        # A cut may take an acknowledgement with it; that message comes again.
                        while f"m-{times}" not in ids(await rig.take(rig.output, 1)):
                            pass
                    proxy.cut()
    for line in rig.log():
        if line["event"] == "amqp_lost" and f":{refusing}/" in line["endpoint"]:
            assert line["retry_in_seconds"] == 0
