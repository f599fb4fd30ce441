"""The RabbitMQ that scenarios share: a node, and a cluster, each started when first needed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from broker.sandbox.rabbitmq import RabbitmqNode, open_rabbitmq_node
from tests.faults.play import Result, play, play_on_cluster
from tests.faults.scenario import ClusterScenario, Scenario
from tests.lab.rabbitmq_cluster import RabbitmqCluster, open_rabbitmq_cluster


class Theatre:
    """Plays one scenario after the other. Made by `open_theatre`."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._node: RabbitmqNode | None = None
        self._cluster: RabbitmqCluster | None = None

    async def play(
        self, scenario: Scenario | ClusterScenario, directory: Path, *, seed: int, is_long: bool
    ) -> Result:
        """Play a scenario; see `chaos.play.play`."""
        if isinstance(scenario, ClusterScenario):
            if self._cluster is None:
                self._cluster = await self._stack.enter_async_context(open_rabbitmq_cluster())
            return await play_on_cluster(
                scenario, self._cluster, directory, seed=seed, is_long=is_long
            )
        if self._node is None:
            self._node = await self._stack.enter_async_context(open_rabbitmq_node())
        return await play(scenario, self._node, directory, seed=seed, is_long=is_long)


@asynccontextmanager
async def open_theatre() -> AsyncIterator[Theatre]:
    """Prepare to play scenarios; what was started for them ends with the context."""
    async with AsyncExitStack() as stack:
        yield Theatre(stack)
