"""One call of the benchmark: RabbitMQ, the central server, and every section in turn."""

import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import msgspec
import trio
from rich.progress import Progress, TaskID

from tests.bench import blocked, hold_up, latency, throughput
from tests.bench.environment import AIO_PIKA, BROKER, CONTENDERS, ROOT, Contender, Environment
from tests.bench.machine import describe
from tests.bench.plan import Plan
from tests.bench.results import Growth, Results, median_rate
from tests.lab.central_server import open_central_server
from tests.lab.rabbitmq_node import open_rabbitmq_node

_MANY_AGENTS = 100_000
_LOADS = (0.1, 0.5, 0.8)


async def measure_all(plan: Plan, sections: Collection[str], progress: Progress) -> Results:
    """Measure the sections, one thing at a time.

    Args:
        plan: How much.
        sections: Some of `bench.plan.SECTIONS`.
        progress: Where to show how far it is.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as logs:
        async with open_rabbitmq_node() as node, open_central_server() as server:
            env = Environment(node, server, Path(logs))
            env.bring_agents_online()
            session = _Session(plan, env, progress, await describe(node))
            if not {"throughput", "latency"}.isdisjoint(sections):
                await session.throughput()
            if "window" in sections:
                await session.window()
            if "sizes" in sections:
                await session.sizes()
            if "latency" in sections:
                await session.latency()
            if "growth" in sections:
                await session.hold_up()
                await session.growth()
            if "blocked" in sections:
                await session.blocked()
    return session.results


class _Session:
    """The sections, and what they found so far."""

    def __init__(
        self, plan: Plan, env: Environment, progress: Progress, machine: dict[str, str]
    ) -> None:
        self._plan = plan
        self._env = env
        self._progress = progress
        self.results = Results(plan.name, machine)

    async def throughput(self) -> None:
        """All contenders in turn, and again."""
        task = self._begin("throughput", self._plan.rounds * len(CONTENDERS))
        for _ in range(self._plan.rounds):
            for contender in CONTENDERS:
                self._show(task, f"throughput: {contender.title}")
                messages = self._plan.messages[contender.name]
                run = await throughput.measure(self._env, contender, messages=messages)
                self.results.throughput.append(run)
                self._progress.advance(task)

    async def window(self) -> None:
        """The broker by prefetch."""
        task = self._begin("prefetch", self._plan.window_rounds * len(self._plan.windows))
        messages = self._plan.messages[BROKER.name]
        for _ in range(self._plan.window_rounds):
            for prefetch in self._plan.windows:
                self._show(task, f"prefetch: {prefetch:,}")
                run = await throughput.measure(
                    self._env, BROKER, messages=messages, prefetch=prefetch
                )
                self.results.window.append(run)
                self._progress.advance(task)

    async def sizes(self) -> None:
        """The broker and aio-pika by message size."""
        task = self._begin("message size", 2 * len(self._plan.sizes))
        for size, messages in self._plan.sizes.items():
            for contender in (BROKER, AIO_PIKA):
                self._show(task, f"message size: {size:,} B, {contender.title}")
                run = await throughput.measure(self._env, contender, messages=messages, size=size)
                self.results.sizes.append(run)
                self._progress.advance(task)

    async def latency(self) -> None:
        """The broker and aio-pika at the same rates, and the broker at its own."""
        ours = median_rate(self.results.throughput, contender=BROKER.name)
        theirs = median_rate(self.results.throughput, contender=AIO_PIKA.name)
        if ours is None or theirs is None:
            return
        same = {f"{load:.0%} of aio-pika's rate": load * theirs for load in _LOADS}
        own = {f"{load:.0%} of the broker's rate": load * ours for load in _LOADS}
        pairs = [(contender, load) for load in same for contender in (BROKER, AIO_PIKA)]
        task = self._begin("latency", self._plan.latency_rounds * (len(pairs) + len(own)))
        for number in range(self._plan.latency_rounds):
            # Who comes first takes turns.
            for contender, load in pairs if number % 2 else reversed(pairs):
                await self._latency_of(contender, load, same[load], task)
            for load, rate in own.items():
                await self._latency_of(BROKER, load, rate, task)

    async def _latency_of(self, contender: Contender, load: str, rate: float, task: TaskID) -> None:
        self._show(task, f"latency: {contender.title}, {load}")
        seconds = max(self._plan.latency_seconds, self._plan.latency_messages / rate)
        point = await latency.measure(self._env, contender, load, rate=rate, seconds=seconds)
        self.results.latency.append(point)
        self._progress.advance(task)

    async def growth(self) -> None:
        """The registry, in a process of its own."""
        task = self._begin("number of agents", 1)
        completed = await trio.run_process(
            [sys.executable, "-m", "tests.bench.growth", *map(str, self._plan.agents)],
            capture_stdout=True,
            cwd=ROOT,
        )
        self.results.growth = msgspec.json.decode(completed.stdout, type=list[Growth])
        self._progress.advance(task)

    async def hold_up(self) -> None:
        """The broker under a large status update."""
        task = self._begin("a large status update", self._plan.hold_up_rounds)
        for _ in range(self._plan.hold_up_rounds):
            self.results.hold_up.append(await hold_up.measure(self._env, _MANY_AGENTS))
            self._progress.advance(task)

    async def blocked(self) -> None:
        """The broker while RabbitMQ takes nothing."""
        task = self._begin("RabbitMQ takes nothing", 1)
        self.results.blocked.append(await blocked.measure(self._env, self._plan.blocked_seconds))
        self._progress.advance(task)

    def _begin(self, title: str, steps: int) -> TaskID:
        return self._progress.add_task(title, total=steps)

    def _show(self, task: TaskID, text: str) -> None:
        self._progress.update(task, description=text)
