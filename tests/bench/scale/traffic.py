"""The bytes that a message moves over the network, as RabbitMQ counts them."""

import json

from tests.bench.queues import in_thread
from tests.bench.scale.measure import load, watch
from tests.bench.scale.results import Layout, ScaleRun, Traffic
from tests.bench.scale.site import Site
from tests.lab.rabbitmq_node import RabbitmqNode

# What a node sent to the other nodes of its cluster: command line tools are hidden nodes.
_SENT_TO_NODES = """
io:format("~b", [lists:sum([Sent || {Node, Port} <- erlang:system_info(dist_ctrl),
  lists:member(Node, nodes()), {ok, [{send_oct, Sent}]} <- [inet:getstat(Port, [send_oct])]])]).
"""


async def measure_traffic(site: Site, layout: Layout, messages: int) -> Traffic:
    """Count bytes while a layout's brokers route messages that wait for them."""
    await in_thread(load, site, ScaleRun(layout, messages))
    async with site.brokers(layout) as brokers:
        brokers_before, nodes_before = await _brokers(site.nodes[0]), await _nodes(site)
        site.server.send(site.server.full_update())
        await in_thread(watch, site, ScaleRun(layout, messages), brokers)
        brokers_after, nodes_after = await _brokers(site.nodes[0]), await _nodes(site)
    return Traffic(
        layout,
        brokers=(brokers_after - brokers_before) / messages,
        nodes=(nodes_after - nodes_before) / messages,
    )


async def _brokers(node: RabbitmqNode) -> int:
    """Return what brokers sent and received: only they say which product they are."""
    columns = ("client_properties", "recv_oct", "send_oct")
    connections = json.loads(await node.ctl("list_connections", "--formatter", "json", *columns))
    brokers = [one for one in connections if "product" in one["client_properties"]]
    return sum(one["recv_oct"] + one["send_oct"] for one in brokers)


async def _nodes(site: Site) -> int:
    return sum(
        [int((await node.ctl("eval", _SENT_TO_NODES)).split("ok")[0]) for node in site.nodes]
    )
