"""Tables of figures that were measured, from the raw figures that stand beside the documents."""

import msgspec

from tests.bench import kept
from tests.bench.policies.report import markdown as policies_markdown
from tests.bench.policies.results import PolicyResults
from tests.bench.report import markdown as performance_markdown
from tests.bench.results import Results
from tests.bench.scale.arithmetic import markdown as arithmetic_markdown
from tests.bench.scale.report import markdown as scale_markdown
from tests.bench.scale.results import ScaleResults
from tests.faults.report import SuiteResults
from tests.faults.report import markdown as reliability_markdown


def performance() -> str:
    return f"{performance_markdown(kept.kept(Results, kept.PERFORMANCE))}\n"


def scaling() -> str:
    return f"{scale_markdown(kept.kept(ScaleResults, kept.SCALING))}\n"


def arithmetic() -> str:
    """Return what follows from the figures of the newest version."""
    *_, newest = kept.kept(ScaleResults, kept.SCALING).values()
    return f"{arithmetic_markdown(newest)}\n"


def policies() -> str:
    results = msgspec.json.decode(kept.ROUTING.read_bytes(), type=PolicyResults)
    return f"{policies_markdown(results)}\n"


def reliability() -> str:
    suites = kept.kept(SuiteResults, kept.RELIABILITY)
    measured = {version: suite.results for version, suite in suites.items()}
    return f"\n{reliability_markdown(measured)}\n"
