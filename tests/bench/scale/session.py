"""One call: a node, a cluster, and every layout in turn."""

import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from rich.progress import Progress

from broker.core.messages import AgentStatus
from tests.bench.machine import describe
from tests.bench.names import AGENTS
from tests.bench.scale.measure import measure
from tests.bench.scale.plan import CLUSTER, QUEUE_TYPES, ScalePlan, base
from tests.bench.scale.registry import registry_costs
from tests.bench.scale.results import ScaleResults, title
from tests.bench.scale.site import Site, process_id, without_status
from tests.bench.scale.traffic import measure_traffic
from tests.lab.central_server import open_central_server
from tests.lab.rabbitmq_cluster import open_rabbitmq_cluster
from tests.lab.rabbitmq_node import open_rabbitmq_node

_AGENTS = 100_000
"""With how many the registry is measured."""


async def measure_scale(plan: ScalePlan, progress: Progress) -> ScaleResults:
    """Measure all layouts, one thing at a time.

    The single node and the cluster run all the time, so that layouts can take turns whatever
    they need; a node that has nothing to do costs next to nothing.
    """
    async with AsyncExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        node = await stack.enter_async_context(open_rabbitmq_node())
        cluster = await stack.enter_async_context(open_rabbitmq_cluster(size=CLUSTER))
        server = await stack.enter_async_context(open_central_server(answer=without_status))
        server.update(*(AgentStatus(agent, agent, is_online=True) for agent in AGENTS))
        results = ScaleResults(await describe(node), os.cpu_count() or 1)
        sites = {
            len(nodes): Site(nodes, [await process_id(one) for one in nodes], server, logs)
            for nodes in ([node], cluster.nodes)
        }
        task = progress.add_task("scale", total=plan.rounds * len(plan.layouts))
        for _ in range(plan.rounds):
            for layout in plan.layouts:
                progress.update(task, description=f"scale: {title(layout)}")
                run = await measure(sites[layout.nodes], layout, plan.messages_of(layout))
                results.runs.append(run)
                progress.advance(task)
        for layout in (base(nodes, queue_type) for nodes in sites for queue_type in QUEUE_TYPES):
            traffic = await measure_traffic(sites[layout.nodes], layout, plan.messages)
            results.traffic.append(traffic)
        results.registry = await registry_costs(_AGENTS)
    return results
