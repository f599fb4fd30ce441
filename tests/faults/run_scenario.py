"""Run scenarios one after the other, each to its result."""

import shutil
import traceback
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Literal

import msgspec
import trio

from broker.concurrency.error_groups import first_error
from tests.faults.base_environment import Figures
from tests.faults.checker import Sent
from tests.faults.cluster_environment import ClusterEnvironment, open_cluster_environment
from tests.faults.environment import Environment, open_environment
from tests.faults.scenario import Scenario
from tests.faults.trend import Sample
from tests.lab.cluster_on_hosts import open_cluster_on_hosts
from tests.lab.rabbitmq_cluster import RabbitmqCluster, open_rabbitmq_cluster
from tests.lab.rabbitmq_node import RabbitmqNode, open_rabbitmq_node


class Result(msgspec.Struct, frozen=True):
    """The result of a scenario.

    Attributes:
        lost: How many of these came out nowhere; None when it did not get as far.
        worst_recovery: The longest time until messages were routed again, in seconds.
    """

    scenario: str
    fault: str
    promise: str
    seed: int
    is_long: bool
    seconds: float
    attempted: int
    confirmed: int
    lost: int | None
    unexpected: int | None
    duplicates: int | None
    faults: int
    worst_recovery: float | None
    samples: list[Sample]
    problems: list[str]
    kept: str | None

    @property
    def replay(self) -> str:
        return replay(self.scenario, self.seed, is_long=self.is_long)


def replay(name: str, seed: int, *, is_long: bool = False) -> str:
    """Return the command that repeats a scenario."""
    return f"./scripts/chaos {name} --seed {seed}{' --long' * is_long}"


class Runner:
    """Starts a RabbitMQ node and clusters when the first scenario needs them, for all.

    Made by `open_runner`.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        node: RabbitmqNode | None = None,
        cluster: RabbitmqCluster | None = None,
    ) -> None:
        self._stack = stack
        self._node = node
        self._cluster = cluster
        self._cluster_on_hosts: RabbitmqCluster | None = None

    async def run(self, scenario: Scenario, directory: Path, *, seed: int, is_long: bool) -> Result:
        started = trio.current_time()
        await trio.Path(directory).mkdir(parents=True)
        random = Random(f"{seed} {scenario.name}")
        figures, sent, verdict = Figures(), Sent(), None
        try:
            async with self._environment(scenario, directory, random, is_long) as env:
                figures, sent = env.figures, env.sent
                allowed = await scenario.run(env)
                verdict = await env.finish(allowed)
        except Exception as error:  # noqa: BLE001 - whatever it is, this one failed; others may not
            problems = [_described(error, directory)]
        else:
            problems = verdict.problems
        if not problems:
            shutil.rmtree(directory)
        return Result(
            scenario=scenario.name,
            fault=scenario.fault,
            promise=scenario.promise,
            seed=seed,
            is_long=is_long,
            seconds=trio.current_time() - started,
            attempted=sent.attempted,
            confirmed=len(sent.confirmed),
            lost=None if verdict is None else verdict.lost,
            unexpected=None if verdict is None else verdict.unexpected,
            duplicates=None if verdict is None else verdict.duplicates,
            faults=figures.faults,
            worst_recovery=max(figures.recoveries, default=None),
            samples=figures.samples,
            problems=problems,
            kept=str(directory) if problems else None,
        )

    @asynccontextmanager
    async def _environment(
        self, scenario: Scenario, directory: Path, random: Random, is_long: bool
    ) -> AsyncIterator[Environment | ClusterEnvironment]:
        opened: AbstractAsyncContextManager[Environment | ClusterEnvironment]
        if scenario.needs == "node":
            node = await self._single_node()
            opened = open_environment(node, directory, random, is_long=is_long)
        else:
            cluster = await self._cluster_for(scenario.needs)
            opened = open_cluster_environment(cluster, directory, random, is_long=is_long)
        async with opened as env:
            yield env

    async def version(self) -> str:
        """Return the version of RabbitMQ that the scenarios run on."""
        node = await self._single_node()
        return (await node.ctl("version")).strip()

    async def _single_node(self) -> RabbitmqNode:
        if self._node is None:
            self._node = await self._stack.enter_async_context(open_rabbitmq_node())
        return self._node

    async def _cluster_for(self, needs: Literal["cluster", "hosts"]) -> RabbitmqCluster:
        if needs == "cluster":
            if self._cluster is None:
                self._cluster = await self._stack.enter_async_context(open_rabbitmq_cluster())
            return self._cluster
        if self._cluster_on_hosts is None:
            self._cluster_on_hosts = await self._stack.enter_async_context(open_cluster_on_hosts())
        return self._cluster_on_hosts


@asynccontextmanager
async def open_runner(
    *, node: RabbitmqNode | None = None, cluster: RabbitmqCluster | None = None
) -> AsyncIterator[Runner]:
    """Prepare to run scenarios; what is started for them ends with the context.

    Args:
        cluster: A running cluster to use, all of it; so it is left. None likewise.
    """
    async with AsyncExitStack() as stack:
        yield Runner(stack, node, cluster)


def _described(error: Exception, directory: Path) -> str:
    (directory / "traceback.txt").write_text(
        "".join(traceback.format_exception(error)), encoding="utf-8"
    )
    first = first_error(error) if isinstance(error, ExceptionGroup) else error
    return str(first) if isinstance(first, AssertionError) else f"{type(first).__name__}: {first}"
