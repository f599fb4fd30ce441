"""The simulation obeys the laws of queues, whatever its costs."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.scale.model.engine import TURN, Clock, Machine, Process
from tests.bench.scale.model.flow import simulate
from tests.bench.scale.model.sizing import LOAD, MOST_NODES, saturating, size
from tests.bench.scale.model.system import Costs, System, bound

MICROSECOND = 1e-6
COSTS = Costs(
    broker=30 * MICROSECOND,
    connection=20 * MICROSECOND,
    take=8 * MICROSECOND,
    put=10 * MICROSECOND,
    take_replica=3 * MICROSECOND,
    put_replica=4 * MICROSECOND,
    log=2 * MICROSECOND,
    wait=0.002,
)
MESSAGES = 300

costs = st.builds(
    Costs,
    **{
        name: st.floats(1 * MICROSECOND, 50 * MICROSECOND)
        for name in ("broker", "connection", "take", "put", "take_replica", "put_replica", "log")
    },
    wait=st.floats(0, 0.005),
)
systems = st.builds(
    System,
    queue_type=st.sampled_from(["classic", "quorum"]),
    nodes=st.integers(1, 5),
    cores=st.integers(1, 8),
    brokers=st.integers(1, 5),
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
    prefetch=st.integers(1, 300),
    round_trip=st.floats(0, 0.002),
    takes_all=st.just(True),
    one_machine=st.booleans(),
    live=st.booleans(),
)


@given(systems, costs)
@settings(max_examples=40)
def test_nothing_is_lost_and_nothing_is_faster_than_its_slowest_part(
    system: System, costs: Costs
) -> None:
    outcome = simulate(system, costs, 300)
    assert outcome.routed == 300
    assert outcome.rate <= bound(system, costs) * 1.000001
    assert 0 < outcome.node_busy <= 1.000001
    assert 0 <= outcome.broker_busy <= 1.000001


@given(systems, costs, st.integers())
@settings(max_examples=10)
def test_the_same_seed_gives_the_same_outcome(system: System, costs: Costs, seed: int) -> None:
    assert simulate(system, costs, 200, seed) == simulate(system, costs, 200, seed)


def test_every_queue_has_brokers_when_these_share_the_queues_out() -> None:
    for brokers, inputs in ((1, 1), (2, 5), (5, 2), (4, 4), (3, 7)):
        system = System("classic", 1, 2, brokers, inputs=inputs, takes_all=False)
        taken = [one for broker in range(brokers) for one in system.inputs_of(broker)]
        assert set(taken) == set(range(inputs))
        assert simulate(system, COSTS, MESSAGES).routed == MESSAGES


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_more_cores_route_no_fewer_messages(queue_type: str) -> None:
    system = System(queue_type, 3, 1, 8, inputs=3, outputs=3, prefetch=25, live=True)  # type: ignore[arg-type]
    rates = [simulate(replace(system, cores=cores), COSTS, 2_400).rate for cores in (1, 2, 4)]
    # Brokers and queues end it in the end; two percent are for how batches fall.
    assert all(more > 0.98 * fewer for fewer, more in pairwise(rates))
    assert rates[1] > 1.7 * rates[0]


def test_more_brokers_help_until_something_else_is_the_limit() -> None:
    system = System("quorum", 3, 8, brokers=1)
    one, two, many = (
        simulate(replace(system, brokers=brokers), COSTS, 10_000).rate for brokers in (1, 2, 16)
    )
    assert one == pytest.approx(1 / COSTS.broker, rel=0.1)
    assert two == pytest.approx(2 * one, rel=0.1)
    assert many == pytest.approx(1 / COSTS.put, rel=0.1)


def test_one_queue_is_one_core_and_two_are_two() -> None:
    system = System("classic", 1, 32, brokers=16)
    one, two = (
        simulate(replace(system, inputs=shards, outputs=shards), COSTS, 10_000).rate
        for shards in (1, 2)
    )
    assert one == pytest.approx(1 / COSTS.put, rel=0.1)
    # Two halves that are chosen at random are not as even.
    assert two == pytest.approx(2 / COSTS.put, rel=0.15)


@pytest.mark.parametrize("prefetch", [1, 4, 16])
def test_a_small_window_makes_a_window_each_round_trip(prefetch: int) -> None:
    wait = 0.05
    system = System("classic", 1, 8, brokers=1, prefetch=prefetch)
    rate = simulate(system, replace(COSTS, wait=wait), 40 * prefetch).rate
    assert rate == pytest.approx(prefetch / wait, rel=0.05)


def test_distance_costs_time_when_the_window_is_small() -> None:
    near = System("quorum", 3, 8, brokers=1, prefetch=10)
    far = replace(near, round_trip=0.01)
    # A delivery, a publishing that two of three write down, its confirm, and the acknowledgement.
    assert simulate(near, COSTS, 500).rate > 4 * simulate(far, COSTS, 500).rate


def test_replicas_are_paid_for_by_every_node() -> None:
    def busy(queue_type: str) -> float:
        system = System(queue_type, 3, 2, brokers=4)  # type: ignore[arg-type]
        outcome = simulate(system, COSTS, 5_000)
        return outcome.node_busy / outcome.rate

    assert busy("quorum") > 1.4 * busy("classic")


def test_a_process_takes_one_core_and_shares_it_fairly() -> None:
    clock = Clock()
    machine = Machine(clock, cores=1)
    order: list[str] = []
    for name in ("a", "b"):
        process = Process(machine)
        process.put([name] * (2 * TURN), 1.0, order.extend)
    clock.run()
    assert order == ["a"] * TURN + ["b"] * TURN + ["a"] * TURN + ["b"] * TURN
    assert clock.now == machine.busy == 4 * TURN


def test_cores_work_side_by_side_and_a_process_in_order() -> None:
    clock = Clock()
    machine = Machine(clock, cores=2)
    handled: list[int] = []
    busy, other = Process(machine), Process(machine)
    busy.put([1, 2], 1.0, handled.extend)
    busy.put([3], 1.0, handled.extend)
    other.put([4], 2.5, handled.extend)
    clock.run()
    # The first turn began with what was there: what came behind it has the next one.
    assert handled == [1, 2, 4, 3]
    assert clock.now == 3.0


@given(costs, st.sampled_from([1e3, 1e5, 1e7]), st.sampled_from([8, 16]))
def test_what_is_sized_has_room_to_spare(costs: Costs, rate: float, cores: int) -> None:
    wanted = size(rate, "quorum", cores, costs)
    assert wanted.clusters * bound(wanted.system, costs) * LOAD >= rate * 0.999
    assert wanted.system.brokers >= 2
    assert 3 <= wanted.system.nodes <= MOST_NODES


@given(costs)
@settings(max_examples=50)
def test_enough_queues_and_brokers_leave_the_nodes_as_the_limit(costs: Costs) -> None:
    system = saturating("quorum", 3, 8, costs)
    plenty = replace(system, inputs=1_000, outputs=1_000, brokers=1_000)
    assert bound(system, costs) == pytest.approx(bound(plenty, costs))
