"""What was measured of brokers and nodes is divided among their parts, and reported."""

# ruff: noqa: RUF001 - signs of multiplication

from dataclasses import astuple

import pytest

from tests.bench.scale.arithmetic import markdown as arithmetic
from tests.bench.scale.costs import Costs, costs_of
from tests.bench.scale.erlang_work import CONNECTION, LOG, REST, work_between
from tests.bench.scale.plan import base
from tests.bench.scale.report import markdown
from tests.bench.scale.results import ScaleResults, ScaleRun, Traffic

QUEUES = "scale_input_0", "scale_output_0"


def run_of(*problems: str) -> ScaleRun:
    return ScaleRun(
        base(3, "quorum"),
        messages=1_000_000,
        seconds=100,
        broker_cpu=30,
        node_cpu=[40, 20, 12],
        work=[
            {CONNECTION: 28, LOG: 4, REST: 5, QUEUES[0]: 8, QUEUES[1]: 10},
            *({LOG: 4, REST: 5, QUEUES[0]: 3, QUEUES[1]: 4} for _ in range(2)),
        ],
        problems=list(problems),
    )


def test_the_nodes_processor_time_is_divided_as_their_processes_divided_the_work() -> None:
    costs = costs_of([run_of(), run_of()])
    assert astuple(costs) == pytest.approx(
        astuple(Costs(broker=30, connection=28, take=8, put=10, replica=7, log=4))
    )


def test_a_wrong_run_is_reported_and_does_not_count() -> None:
    wrong = markdown({"4.0": ScaleResults({}, cores=2, runs=[run_of("2 lost")])})
    assert "RabbitMQ 4.0: wrong runs: 1 of 1." in wrong
    assert "3 nodes, quorum, 3 brokers, 1 shard, prefetch 1,000 was wrong: 2 lost." in wrong
    assert "10,000/s" not in wrong
    assert "| 3 | 1 / 1 | 1,000 | 4.0 | 10,000/s (10,000 ... 10,000), 30 + 72 us |" in markdown(
        {"4.0": ScaleResults({}, cores=2, runs=[run_of()])}
    )


def test_costs_say_what_many_messages_take() -> None:
    traffic = Traffic(base(3, "quorum"), brokers=800, nodes=1_200)
    told = arithmetic(ScaleResults({}, cores=2, runs=[run_of()], traffic=[traffic]))
    assert "2 × (28.0 + 8.0 + 10.0 + 2 × 7.0 + 3 × 4.0) = 144 us | 6,940/s per core" in told
    # 40 nodes: five clusters of nine.
    assert "| nodes | 3 | 5 clusters of 9 | 45 clusters of 9 |" in told
    assert "| cores of its nodes | 2.4 → 3 × 2 | 48.0 → 9 × 6 | 53.3 → 9 × 6 |" in told
    assert "| brokers of all clusters | 2 | 50 | 540 |" in told


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
