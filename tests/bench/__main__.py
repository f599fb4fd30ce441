"""`python -m tests.bench`: measure, judge, write tables, plots and raw figures."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import trio
from cyclopts import App, Parameter
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.bench import document
from tests.bench.environment import PEER_PYTHON, ROOT
from tests.bench.output import draw, write
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

_ROUTING = ROOT / "docs" / "routing.md"
_POLICIES_ROOM = Path(__file__).parent / "policies" / "session.py"
_SCALING = ROOT / "docs" / "scaling.md"
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
    write(results, output, into_documents=full and only is None)
    console.print(Markdown(markdown(results)))
    console.print(f"Written to {output}.")
    return 1 if any(run.problems for run in checked(results)) else 0


def _scale(console: Console, progress: Progress, output: Path, *, quick: bool) -> int:
    with progress:
        results = trio.run(measure_scale, SCALE_QUICK if quick else SCALE, progress)
    tables = scale_markdown(results)
    document.write(results, tables, output, None if quick else _SCALING)
    if not quick:
        document.write_raw(results, _SCALING.with_suffix(""))
    console.print(Markdown(tables))
    console.print(f"Written to {output}.")
    return 1 if any(run.problems for run in results.runs) else 0


def _policies(console: Console, progress: Progress, output: Path, *, quick: bool) -> int:
    with progress:
        results = measure_policies(POLICIES_QUICK if quick else POLICIES, progress)
    tables = policies_markdown(results)
    raw = document.write(results, tables, output, None if quick else _ROUTING)
    draw(_POLICIES_ROOM, raw, output)
    if not quick:
        beside = _ROUTING.with_suffix("")
        beside.mkdir(exist_ok=True)
        draw(_POLICIES_ROOM, document.write_raw(results, beside), beside)
    console.print(Markdown(tables))
    console.print(f"Written to {output}.")
    return 0


if __name__ == "__main__":
    sys.exit(app())
