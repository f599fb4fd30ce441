"""Queues whose only node is down, in a cluster that goes on: they take only themselves."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.amqp import open_rabbit
from broker.cli.checks.rabbitmq import Wanted, check_rabbitmq
from broker.net.endpoints import parse_amqp_urls
from tests.integration.http_client import listening, until_answered
from tests.integration.rig import Rig, bring_online, ids, text
from tests.integration.test_unavailable_queues import POISON, REGISTRATION, never_lost
from tests.lab.amqp_client import AmqpClient
from tests.lab.central_server import CentralServer
from tests.lab.rabbitmq_cluster import RabbitmqCluster

pytestmark = pytest.mark.exhaustive

QUORUM: dict[str, Any] = {"x-queue-type": "quorum", "x-quorum-initial-group-size": 1}
FEW = {"BROKER_HTTP_PORT": "0", "BROKER_PREFETCH": "10"}


@pytest.fixture
async def cluster_rig(cluster: RabbitmqCluster, tmp_path: Path) -> AsyncIterator[Rig]:
    """A rig at the first node; the second may be stopped, and runs again afterwards."""
    yield Rig(cluster.nodes[0], tmp_path)
    await cluster.nodes[1].start()


@pytest.mark.parametrize("arguments", [{}, QUORUM], ids=["classic", "quorum"])
async def test_chat_goes_on_without_metadata_and_dead_letters(
    cluster: RabbitmqCluster, cluster_rig: Rig, server: CentralServer, arguments: dict[str, Any]
) -> None:
    rig, away = cluster_rig, cluster.nodes[1]
    bring_online(server)
    await AmqpClient(away.url).declare(rig.metadata, rig.dead_letter, **arguments)
    await away.stop()
    async with rig.routing(server.url, **FEW):
        port = await listening(rig)
        shown = await until_answered(port, "/readyz?verbose", 503, f"{rig.metadata} (")
        await rig.publish(rig.input, POISON, text(0, "somebody"), POISON)
        assert ids(await rig.take(rig.output, 1)) == ["m-0"]
        # More than the broker may hold.
        await rig.publish(rig.input, *(text(number, "somebody") for number in range(30)))
        assert len(await rig.take(rig.output, 30)) == 30
        shown = await until_answered(port, "/readyz?verbose", 503, f"{rig.dead_letter}: ")
        assert "(2 messages wait for it)" in shown

        await away.start()
        await rig.publish(rig.metadata, json.dumps(REGISTRATION).encode())
        assert len(await rig.take(rig.output, 1)) == 1
        assert [one.body for one in await rig.take(rig.dead_letter, 2)] == [POISON] * 2
        await until_answered(port, "/readyz", 200)
    assert never_lost(rig)


async def test_a_queue_whose_node_goes_down_meanwhile_takes_only_itself(
    cluster: RabbitmqCluster, cluster_rig: Rig, server: CentralServer
) -> None:
    rig, away = cluster_rig, cluster.nodes[1]
    bring_online(server)
    await AmqpClient(away.url).declare(rig.advertisement)
    async with rig.broker(server.url, **FEW):
        port = await listening(rig)
        await until_answered(port, "/readyz", 200)
        await away.stop()
        await until_answered(port, "/readyz?verbose", 503, f"{rig.advertisement} (")
        await rig.publish(rig.input, *(text(number, "somebody") for number in range(30)))
        assert len(await rig.take(rig.output, 30)) == 30
        await away.start()
        await until_answered(port, "/readyz", 200)
    assert never_lost(rig)


async def test_the_check_calls_it_down_and_not_missing(
    cluster: RabbitmqCluster, cluster_rig: Rig
) -> None:
    rig, away = cluster_rig, cluster.nodes[1]
    await AmqpClient(away.url).declare(rig.advertisement)
    await away.stop()
    (endpoint,) = parse_amqp_urls(rig.node.url)
    wanted = Wanted(
        name="check",
        consumed=(rig.input, rig.advertisement),
        published=(rig.output,),
        exchange=rig.registry_exchange,
        has_url=True,
    )
    async with open_rabbit() as rabbit:
        items = {item.name: item for item in await check_rabbitmq(rabbit, endpoint, wanted)}
    item = items[f"queue {rig.advertisement}"]
    assert not item.ok
    assert item.found.startswith("down (NOT_FOUND - ")
    assert (
        item.advice
        == "start the node that has it; or delete the queue, if its messages may be lost"
    )
    assert items[f"queue {rig.input}"].found == "missing; the broker will create it"
