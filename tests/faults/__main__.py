"""`python -m tests.faults`: do harm to the broker, and see whether it keeps its promises."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random, randrange
from typing import Annotated

import trio
from cyclopts import App, Parameter
from msgspec.structs import replace
from rich.console import Console

from tests.bench.draw import draw
from tests.bench.environment import PEER_PYTHON
from tests.bench.kept import RELIABILITY, keep, short, write_all
from tests.documents.generated import renew
from tests.faults.report import SuiteResults, complaint, line, markdown
from tests.faults.run_scenario import Result, open_runner
from tests.faults.scenario import Scenario
from tests.faults.scenarios import SCENARIOS
from tests.lab.hosts import why_no_network

ROOT = Path(__file__).parents[2]
_SEEDS = 1_000_000

app = App(name="chaos", help="Do harm to the broker, and see whether it keeps its promises.")


@app.default
def chaos(
    *names: str,
    seed: int | None = None,
    long: Annotated[bool, Parameter(negative=())] = False,
    minutes: float | None = None,
    list_: Annotated[bool, Parameter(negative=())] = False,
    output: Path = ROOT / "tests" / "faults" / "results",
) -> int:
    """Run scenarios, all of them by default, and print their results.

    Args:
        names: The scenarios to run.
        seed: Repeats what is random.
        long: Run the long forms; all of them renew the table in docs/reliability.md.
        minutes: Run scenarios at random, again and again, until the time is over.
        list_: List the scenarios, and run none.
        output: Where the table, raw figures and the logs of those that failed are written.

    Returns:
        1 when a scenario failed, else 0; 2 when there is no such scenario.
    """
    console = Console(highlight=False, soft_wrap=True)
    if unknown := [name for name in names if name not in SCENARIOS]:
        console.print(f"no such scenario: {', '.join(unknown)}; try --list", style="red")
        return 2
    chosen = [SCENARIOS[name] for name in names or SCENARIOS]
    if list_:
        for scenario in chosen:
            console.print(f"{scenario.name:23} {scenario.fault}: {scenario.promise}")
        return 0
    chosen, skipped = _possible(chosen)
    for name, reason in skipped.items():
        console.print(f"{name} is skipped: {reason}", style="yellow")
    seed = randrange(_SEEDS) if seed is None else seed
    plan = _at_random(chosen, seed) if minutes is not None else ((one, seed) for one in chosen)
    logs = output / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{seed}"
    suite = trio.run(_run_all, plan, minutes, long, logs, console)
    results = suite.results
    is_complete = long and not names and minutes is None and not skipped
    _write(suite, output, console, into_documents=is_complete)
    failed = [result for result in results if result.problems]
    for result in failed:
        console.print(complaint(result), style="red", markup=False)
    console.print(f"Written to {output}.")
    return 1 if failed else 0


def _write(suite: SuiteResults, directory: Path, console: Console, *, into_documents: bool) -> None:
    raw = write_all(suite, markdown({short(suite.rabbitmq): suite.results}), directory)
    plots = directory
    if into_documents:
        without_samples = [replace(result, samples=[]) for result in suite.results]
        is_newest = keep(replace(suite, results=without_samples), suite.rabbitmq, RELIABILITY)
        plots = RELIABILITY if is_newest else directory
        for path in renew():
            console.print(f"Renewed {path}.")
    if not any(result.samples for result in suite.results):
        return
    if PEER_PYTHON.exists():
        draw(Path(__file__), raw, plots)
    else:
        console.print("No plots: scripts/environment .venv-bench requirements/bench.txt")


def _possible(scenarios: list[Scenario]) -> tuple[list[Scenario], dict[str, str]]:
    """Return those that can run on this machine, and why others cannot, by name."""
    reason = why_no_network()
    if reason is None:
        return scenarios, {}
    return (
        [one for one in scenarios if one.needs != "hosts"],
        {one.name: reason for one in scenarios if one.needs == "hosts"},
    )


def _at_random(scenarios: list[Scenario], seed: int) -> Iterator[tuple[Scenario, int]]:
    random = Random(seed)
    while True:
        yield random.choice(scenarios), random.randrange(_SEEDS)


async def _run_all(
    plan: Iterator[tuple[Scenario, int]],
    minutes: float | None,
    is_long: bool,
    logs: Path,
    console: Console,
) -> SuiteResults:
    results: list[Result] = []
    deadline = None if minutes is None else trio.current_time() + 60 * minutes
    async with open_runner() as runner:
        for number, (scenario, seed) in enumerate(plan, 1):
            if deadline is not None and trio.current_time() >= deadline:
                break
            directory = logs / f"{number}-{scenario.name}"
            with console.status(f"{scenario.name}, seed {seed}"):
                result = await runner.run(scenario, directory, seed=seed, is_long=is_long)
            results.append(result)
            console.print(line(result))
        return SuiteResults(await runner.version(), results)


if __name__ == "__main__":
    sys.exit(app())
