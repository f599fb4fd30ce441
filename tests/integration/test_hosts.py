"""Lists of RabbitMQ nodes, of which some do not answer."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from yarl import URL

from tests.integration.rig import Rig, bring_online, ids, text
from tests.lab.central_server import CentralServer
from tests.lab.eventually import PATIENCE
from tests.lab.proxy import open_proxy


@contextmanager
def port_without_listener() -> Iterator[int]:
    """Yield a port that refuses, and that nobody else gets meanwhile."""
    with socket.socket() as keeper:
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


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
        if line["event"] == "amqp_unavailable" and f":{refusing}/" in line["endpoint"]:
            assert line["retry_in_seconds"] == 0
