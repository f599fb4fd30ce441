"""`python -m tests.bench`: measure, judge, write tables, plots and raw figures."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import trio
from cyclopts import App, Parameter
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench.draw import draw
from tests.bench.environment import PEER_PYTHON, ROOT
from tests.bench.kept import PERFORMANCE, ROUTING, SCALING, keep, short, write_all, write_raw
from tests.bench.plan import DEFAULT, FULL, QUICK
from tests.bench.policies.report import markdown as policies_markdown
from tests.bench.policies.session import FULL as POLICIES
from tests.bench.policies.session import QUICK as POLICIES_QUICK
from tests.bench.policies.session import measure_policies
from tests.bench.report import markdown
from tests.bench.results import checked
from tests.bench.scale.plan import SCALE, SCALE_QUICK
from tests.bench.scale.report import markdown as scale_markdown
from tests.bench.scale.session import measure_scale
from tests.bench.session import measure_all
from tests.documents.generated import renew

_POLICIES_ROOM = Path(__file__).parent / "policies" / "session.py"
Section = Literal["throughput", "window", "sizes", "latency", "growth", "blocked"]

app = App(name="bench", help="Measure the broker beside other libraries, in Python, C and Node.js.")


@app.default
def bench(
    *,
    quick: Annotated[bool, Parameter(negative=())] = False,
    full: Annotated[bool, Parameter(negative=())] = False,
    only: Section | None = None,
    scale: Annotated[bool, Parameter(negative=())] = False,
    policies: Annotated[bool, Parameter(negative=())] = False,
    output: Path = ROOT / "tests" / "bench" / "results",
) -> int:
    """Measure, and print the results.

    Args:
        quick: Measure little, in less than two minutes; for a look, not for figures.
        full: Measure much, in twenty minutes, and put the results into docs/performance.md.
        only: Measure one section only. Latency takes the throughput along, for its rates.
        scale: Measure instead how several brokers, queues and nodes share the work, and put the
            tables into docs/scaling.md; in ten minutes. With --quick only look, in two, and leave
            the document alone.
        policies: Simulate instead how long answers take with each routing policy, measure what a
            decision costs, and put both into docs/routing.md; in ten minutes. With --quick only
            look, in two, and leave the document alone.
        output: Where tables, plots and raw figures are written.

    Returns:
        1 when messages were lost, doubled or routed wrongly, else 0: targets are met or missed,
        which depends on the machine as well.
    """
    console = Console()
    if quick and full:
        console.print("--quick and --full exclude each other", style="red")
        return 2
    if not PEER_PYTHON.exists():
        console.print("The other libraries are missing: start it as ./scripts/bench", style="red")
        return 2
    if (scale or policies) and (full or only is not None or (scale and policies)):
        console.print(
            "--scale and --policies are sections of their own: of the others only --quick",
            style="red",
        )
        return 2
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    )
    if scale:
        return _scale(console, progress, output / "scale", quick=quick)
    if policies:
        return _policies(console, progress, output / "policies", quick=quick)
    plan = QUICK if quick else FULL if full else DEFAULT
    sections = plan.sections if only is None else (only,)
    with progress:
        results = trio.run(measure_all, plan, sections, progress)
    version = results.machine["rabbitmq"]
    tables = markdown({short(version): results})
    raw = write_all(results, tables, output)
    draw(Path(__file__), raw, output)
    if full and only is None:
        if keep(results, version, PERFORMANCE):
            draw(Path(__file__), raw, PERFORMANCE)
        _renew_documents(console)
    console.print(Markdown(tables))
    console.print(f"Written to {output}.")
    return 1 if any(run.problems for run in checked(results)) else 0


def _renew_documents(console: Console) -> None:
    for path in renew():
        console.print(f"Renewed {path}.")


def _scale(console: Console, progress: Progress, output: Path, *, quick: bool) -> int:
    with progress:
        results = trio.run(measure_scale, SCALE_QUICK if quick else SCALE, progress)
    version = results.machine["rabbitmq"]
    tables = scale_markdown({short(version): results})
    write_all(results, tables, output)
    if not quick:
        keep(results, version, SCALING)
        _renew_documents(console)
    console.print(Markdown(tables))
    console.print(f"Written to {output}.")
    return 1 if any(run.problems for run in results.runs) else 0


def _policies(console: Console, progress: Progress, output: Path, *, quick: bool) -> int:
    with progress:
        results = measure_policies(POLICIES_QUICK if quick else POLICIES, progress)
    tables = policies_markdown(results)
    draw(_POLICIES_ROOM, write_all(results, tables, output), output)
    if not quick:
        draw(_POLICIES_ROOM, write_raw(results, ROUTING), ROUTING.parent)
        _renew_documents(console)
    console.print(Markdown(tables))
    console.print(f"Written to {output}.")
    return 0


if __name__ == "__main__":
    sys.exit(app())
