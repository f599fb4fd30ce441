"""What a system costs is found again in what was measured of it."""

import pytest

from tests.bench.scale.erlang_work import CONNECTION, LOG, REST, work_between
from tests.bench.scale.model.answers import answers
from tests.bench.scale.model.calibration import as_measured, calibrated, predictions
from tests.bench.scale.model.flow import simulate
from tests.bench.scale.model.system import Costs, node_cost, slowed
from tests.bench.scale.plan import base, small_window
from tests.bench.scale.report import markdown
from tests.bench.scale.results import Layout, ScaleResults, ScaleRun

CORES = 2
MICROSECOND = 1e-6
TRUE = Costs(
    broker=30 * MICROSECOND,
    connection=24 * MICROSECOND,
    take=8 * MICROSECOND,
    put=10 * MICROSECOND,
    take_replica=3 * MICROSECOND,
    put_replica=5 * MICROSECOND,
    log=2 * MICROSECOND,
    wait=0.004,
)
OTHER = Layout(3, "quorum", brokers=1)


def run_of(layout: Layout, *, efficiency: float = 0.8, others: float = 0.1) -> ScaleRun:
    """Return what would be measured if the model were the truth."""
    messages = 2_000
    system = as_measured(layout, CORES)
    costs = slowed(TRUE, efficiency * (1 - others))
    seconds = messages / simulate(system, costs, messages).rate
    members = [
        {CONNECTION: 24, LOG: 4, REST: 5, "scale_input_0": 8, "scale_output_0": 10},
        *({LOG: 4, REST: 5, "scale_input_0": 3, "scale_output_0": 5} for _ in range(2)),
    ]
    nodes = node_cost(system, TRUE) * messages
    brokers = TRUE.broker * messages
    return ScaleRun(
        layout,
        messages,
        seconds,
        broker_cpu=brokers,
        node_cpu=[nodes / 3] * 3,
        machine_cpu=brokers + nodes + others * seconds * CORES,
        work=members,
    )


def measured() -> ScaleResults:
    layouts = (base(3, "quorum"), small_window(3, "quorum"), OTHER)
    return ScaleResults({"processor": "imagined"}, CORES, [run_of(layout) for layout in layouts])


def test_costs_are_found_again() -> None:
    found = calibrated(measured(), 3, "quorum")
    assert found is not None
    assert found.efficiency == pytest.approx(0.8, rel=0.02)
    for name in ("broker", "connection", "take", "put", "take_replica", "put_replica", "log"):
        assert getattr(found.costs, name) == pytest.approx(getattr(TRUE, name)), name
    assert found.costs.wait == pytest.approx(TRUE.wait, rel=0.05)


def test_other_layouts_are_predicted() -> None:
    results = measured()
    known = calibrated(results, 3, "quorum")
    assert known is not None
    errors = {one.layout: (one.error, one.is_calibrated) for one in predictions(results, [known])}
    assert [is_calibrated for _, is_calibrated in errors.values()] == [True, True, False]
    assert all(abs(error) < 0.03 for error, _ in errors.values())


def test_too_little_measured_calibrates_nothing() -> None:
    results = measured()
    results.runs[1].problems.append("1 lost")
    assert calibrated(results, 3, "quorum") is None
    assert calibrated(results, 1, "classic") is None
    assert list(predictions(results, [])) == []


def test_a_wrong_run_is_reported_and_does_not_count() -> None:
    results = measured()
    for run in results.runs:
        run.problems.append("2 lost")
    nothing = answers(results)
    assert not nothing.calibrations
    assert not nothing.sizes
    report = markdown(results, nothing)
    assert "Wrong runs: 3 of 3." in report
    assert "3 nodes, quorum, 1 broker, 1 shard, prefetch 1,000 was wrong: 2 lost." in report


def test_work_is_told_apart_by_what_it_is_for() -> None:
    before = "5 rabbit_reader -\n7 rabbit_prequeue in_1\n9 gone -\n"
    after = (
        "15 rabbit_reader -\n1 rabbit_channel -\n27 rabbit_prequeue in_1\n"
        "3 %2F_in_2 -\n4 ra_log_wal -\n6 rabbit_prequeue other\n\n"
    )
    assert work_between(before, after, ("in_1", "in_2")) == {
        CONNECTION: 11,
        "in_1": 20,
        "in_2": 3,
        LOG: 4,
    }
    assert work_between("", "6 rabbit_prequeue other\n", ("in_1",)) == {REST: 6}
