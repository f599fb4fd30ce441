"""One call of the benchmark: RabbitMQ, the central server, and every section in turn."""

import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec
import trio
from rich.progress import Progress

from tests.bench import blocked, hold_up, latency, throughput
from tests.bench.builds import build_each
from tests.bench.environment import AIO_PIKA, BROKER, CONTENDERS, ROOT, Environment
from tests.bench.machine import describe
from tests.bench.plan import Plan
from tests.bench.results import Growth, Results, median_rate
from tests.lab.central_server import open_central_server
from tests.lab.rabbitmq_node import open_rabbitmq_node

_MANY_AGENTS = 100_000
_LOADS = (0.1, 0.5, 0.8)


async def measure_all(plan: Plan, sections: Collection[str], progress: Progress) -> Results:
    compares = not {"throughput", "latency"}.isdisjoint(sections)
    builds = {one.name: one.build for one in CONTENDERS if one.build is not None}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        built, missing = await build_each(builds if compares else {}, directory)
        for contender, reason in missing.items():
            progress.console.print(f"{contender} is not measured: {reason}", style="yellow")
        async with open_rabbitmq_node() as node, open_central_server() as server:
            env = Environment(node, server, directory, built)
            env.bring_agents_online()
            libraries = {one.library: one.version for one in built.values()}
            results = Results(plan.name, {**await describe(node), **libraries}, missing)
            session = _Session(plan, env, progress, results)
            if compares:
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
    def __init__(self, plan: Plan, env: Environment, progress: Progress, results: Results) -> None:
        self._plan = plan
        self._env = env
        self._progress = progress
        self.results = results

    async def throughput(self) -> None:
        there = [one for one in CONTENDERS if one.name not in self.results.missing]
        steps = self._plan.rounds * [(one.title, one) for one in there]
        for contender in self._each("throughput", steps):
            messages = self._plan.messages[contender.name]
            run = await throughput.measure(self._env, contender, messages=messages)
            self.results.throughput.append(run)

    async def window(self) -> None:
        messages = self._plan.messages[BROKER.name]
        steps = self._plan.window_rounds * [(f"{one:,}", one) for one in self._plan.windows]
        for prefetch in self._each("prefetch", steps):
            run = await throughput.measure(self._env, BROKER, messages=messages, prefetch=prefetch)
            self.results.window.append(run)

    async def sizes(self) -> None:
        steps = [
            (f"{size:,} B, {one.title}", (one, size, messages))
            for size, messages in self._plan.sizes.items()
            for one in (BROKER, AIO_PIKA)
        ]
        for contender, size, messages in self._each("message size", steps):
            run = await throughput.measure(self._env, contender, messages=messages, size=size)
            self.results.sizes.append(run)

    async def latency(self) -> None:
        """The broker and aio-pika at the same rates, and the broker at its own."""
        ours = median_rate(self.results.throughput, contender=BROKER.name)
        theirs = median_rate(self.results.throughput, contender=AIO_PIKA.name)
        if ours is None or theirs is None:
            return
        same = [(f"{load:.0%} of aio-pika's rate", load * theirs) for load in _LOADS]
        own = [(BROKER, f"{load:.0%} of the broker's rate", load * ours) for load in _LOADS]
        pairs = [(one, *load) for load in same for one in (BROKER, AIO_PIKA)]
        steps = []
        for number in range(self._plan.latency_rounds):
            # Who comes first takes turns.
            steps += [*(pairs if number % 2 else reversed(pairs)), *own]
        named = [
            (f"{contender.title}, {load}", (contender, load, rate))
            for contender, load, rate in steps
        ]
        for contender, load, rate in self._each("latency", named):
            seconds = max(self._plan.latency_seconds, self._plan.latency_messages / rate)
            async with latency.driven(self._env, contender) as drive:
                self.results.latency.append(await drive(load, rate, seconds))

    async def growth(self) -> None:
        """The registry, in a process of its own."""
        for agents in self._each("number of agents", [("", self._plan.agents)]):
            completed = await trio.run_process(
                [sys.executable, "-m", "tests.bench.growth", *map(str, agents)],
                capture_stdout=True,
                cwd=ROOT,
            )
            self.results.growth = msgspec.json.decode(completed.stdout, type=list[Growth])

    async def hold_up(self) -> None:
        steps = self._plan.hold_up_rounds * [("", _MANY_AGENTS)]
        for agents in self._each("a large status update", steps):
            self.results.hold_up.append(await hold_up.measure(self._env, agents))

    async def blocked(self) -> None:
        for seconds in self._each("RabbitMQ takes nothing", [("", self._plan.blocked_seconds)]):
            self.results.blocked.append(await blocked.measure(self._env, seconds))

    def _each[T](self, title: str, steps: Sequence[tuple[str, T]]) -> Iterator[T]:
        """Yield named steps, and show which is under way."""
        task = self._progress.add_task(title, total=len(steps))
        for name, step in steps:
            self._progress.update(task, description=f"{title}: {name}" if name else title)
            yield step
            self._progress.advance(task)
