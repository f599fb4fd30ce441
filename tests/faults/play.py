"""Plays a scenario and gives its result."""

import shutil
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import msgspec
import trio

from broker.concurrency.error_groups import first_error
from broker.sandbox.rabbitmq import RabbitmqNode, open_rabbitmq_node
from tests.faults.arena import Arena, open_arena
from tests.faults.checker import Sent, Verdict
from tests.faults.cluster_arena import ClusterArena, open_cluster_arena
from tests.faults.failure import ScenarioFailedError
from tests.faults.ground import Figures, Ground
from tests.faults.scenario import AnyScenario, ClusterScenario, Scenario
from tests.faults.trend import Sample
from tests.lab.rabbitmq_cluster import RabbitmqCluster


class Result(msgspec.Struct, frozen=True):
    """What came of a scenario.

    Attributes:
        scenario: Its name.
        fault: What was done.
        promise: What had to hold.
        seed: Replays it.
        is_long: Whether it was the long form.
        seconds: How long it took.
        attempted: How many messages RabbitMQ was given.
        confirmed: How many of them it confirmed.
        lost: How many of these came out nowhere; None when it did not get as far.
        unexpected: How many came out that should not have; None likewise.
        duplicates: How many were published again; None likewise.
        faults: How many faults were injected.
        worst_recovery: The longest time until messages were routed again, in seconds.
        samples: What the broker held over time, when the scenario watched that.
        problems: What is wrong, one line each.
        kept: The directory with the broker's log, when there are problems.
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
        """The command that plays it again."""
        long = " --long" if self.is_long else ""
        return f"./scripts/chaos {self.scenario} --seed {self.seed}{long}"


async def play(
    scenario: Scenario, node: RabbitmqNode, directory: Path, *, seed: int, is_long: bool
) -> Result:
    """Play a scenario.

    Args:
        scenario: The scenario.
        node: A running node, for a scenario without one of its own.
        directory: Where to keep the broker's log of one that fails; made for it.
        seed: All that is random comes from it and the scenario's name.
        is_long: Whether to play the long form.
    """

    def arena(random: Random) -> AbstractAsyncContextManager[Arena]:
        return _arena_of(scenario, node, directory, random, is_long=is_long)

    return await _play(scenario, arena, directory, seed=seed, is_long=is_long)


async def play_on_cluster(
    scenario: ClusterScenario,
    cluster: RabbitmqCluster,
    directory: Path,
    *,
    seed: int,
    is_long: bool,
) -> Result:
    """Play a scenario on a cluster.

    Args:
        scenario: The scenario.
        cluster: A running cluster, all of it; so it is left.
        directory: As with `play`.
        seed: As with `play`.
        is_long: As with `play`.
    """

    def arena(random: Random) -> AbstractAsyncContextManager[ClusterArena]:
        return open_cluster_arena(cluster, directory, random, is_long=is_long)

    return await _play(scenario, arena, directory, seed=seed, is_long=is_long)


async def _play[A: Ground](
    scenario: AnyScenario[A],
    open_its_arena: Callable[[Random], AbstractAsyncContextManager[A]],
    directory: Path,
    *,
    seed: int,
    is_long: bool,
) -> Result:
    started = trio.current_time()
    await trio.Path(directory).mkdir(parents=True)
    random = Random(f"{seed} {scenario.name}")
    figures, sent, verdict = Figures(), Sent(), None
    try:
        async with open_its_arena(random) as arena:
            figures, sent = arena.figures, arena.sent
            allowed = await scenario.play(arena)
            verdict = await arena.finish(allowed)
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
        lost=_of(verdict, "lost"),
        unexpected=_of(verdict, "unexpected"),
        duplicates=_of(verdict, "duplicates"),
        faults=figures.faults,
        worst_recovery=max(figures.recoveries, default=None),
        samples=figures.samples,
        problems=problems,
        kept=str(directory) if problems else None,
    )


@asynccontextmanager
async def _arena_of(
    scenario: Scenario, shared: RabbitmqNode, directory: Path, random: Random, *, is_long: bool
) -> AsyncIterator[Arena]:
    async with AsyncExitStack() as stack:
        node = shared
        if scenario.has_own_node:
            node = await stack.enter_async_context(open_rabbitmq_node())
        yield await stack.enter_async_context(open_arena(node, directory, random, is_long=is_long))


def _described(error: Exception, directory: Path) -> str:
    first = first_error(error) if isinstance(error, ExceptionGroup) else error
    if isinstance(first, ScenarioFailedError):
        return str(first)
    (directory / "traceback.txt").write_text(
        "".join(traceback.format_exception(error)), encoding="utf-8"
    )
    return f"{type(first).__name__}: {first}"


def _of(verdict: Verdict | None, figure: str) -> int | None:
    return None if verdict is None else getattr(verdict, figure)
