"""The agents that a policy chooses among: as if the sender were not in the list."""

from collections.abc import Callable
from itertools import permutations, product
from math import perm
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.agent import Agent
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from tests.core.registries import chat, disconnect, register, registry_with
from tests.core.routing.chances import assert_even, in_turn

RANDOM = Random(1).random
LEFT_OUT = st.none() | st.integers(0, 7)


def agents(count: int, left_out: int | None, random: Callable[[], float] = RANDOM) -> Agents:
    registry = registry_with(*(f"agent{place}" for place in range(count)), max_agents=1_000)
    return Agents(chat("client" if left_out is None else f"agent{left_out}"), registry, random)


def names(count: int, left_out: int | None) -> list[str]:
    return [f"agent{place}" for place in range(count) if place != left_out]


@given(count=st.integers(1, 8), left_out=LEFT_OUT)
def test_it_is_the_list_without_the_one_left_out(count: int, left_out: int | None) -> None:
    if left_out is not None:
        left_out %= count
    candidates = agents(count, left_out)
    assert [agent.agent_id for agent in candidates] == names(count, left_out)
    assert [agent.agent_id for agent in candidates] == names(count, left_out), "and again"
    assert len(candidates) == len(names(count, left_out))
    assert bool(candidates) == (len(candidates) > 0)
    for place in range(count + 1):
        agent = candidates.get(f"agent{place}")
        assert (agent is not None) == (f"agent{place}" in names(count, left_out))
        assert (agent in candidates) == (agent is not None)


def test_who_has_gone_or_has_another_form_is_none_of_them() -> None:
    registry = registry_with("alice", "bob")
    candidates = Agents(chat("client"), registry, Random(1).random)
    alice, bob = candidates
    assert alice in candidates
    assert bob in candidates
    register(registry, "alice", capabilities=("sums",))
    disconnect(registry, "bob")
    assert alice not in candidates, "the registry knows her in another form"
    assert candidates.get("alice") in candidates
    assert bob not in candidates
    assert "alice" not in candidates


@given(count=st.integers(1, 8), left_out=LEFT_OUT)
def test_equal_shares_of_chance_choose_each_one_once(count: int, left_out: int | None) -> None:
    if left_out is not None:
        left_out %= count
    size = len(names(count, left_out))
    chosen = [
        agents(count, left_out, in_turn((share + 0.5) / size)).random().agent_id
        for share in range(size)
    ]
    assert chosen == names(count, left_out)


@given(count=st.integers(1, 6), left_out=LEFT_OUT, wanted=st.integers(0, 7))
def test_equal_shares_of_chance_draw_each_sample_once_in_each_order(
    count: int, left_out: int | None, wanted: int
) -> None:
    if left_out is not None:
        left_out %= count
    size = len(names(count, left_out))
    drawn = min(wanted, size)
    if perm(size, drawn) > 400:
        return
    shares = [
        [(share + 0.5) / (size - step) for share in range(size - step)] for step in range(drawn)
    ]
    samples = [
        tuple(agent.agent_id for agent in agents(count, left_out, in_turn(*chances)).sample(wanted))
        for chances in product(*shares)
    ]
    assert sorted(samples) == sorted(permutations(names(count, left_out), drawn))


@pytest.mark.parametrize(("count", "left_out", "wanted"), [(5, 2, 2), (4, None, 4), (7, 0, 3)])
def test_each_sample_is_as_likely_in_each_order(count: int, left_out: int, wanted: int) -> None:
    candidates = agents(count, left_out, Random(20_250_101).random)
    samples = [tuple(agent.agent_id for agent in candidates.sample(wanted)) for _ in range(50_000)]
    assert_even(samples, perm(len(candidates), wanted))


@pytest.mark.parametrize("left_out", [None, 0, 500, 999])
def test_each_one_is_as_likely(left_out: int | None) -> None:
    candidates = agents(1_000, left_out, Random(7).random)
    drawn = [candidates.random().agent_id for _ in range(200_000)]
    assert_even(drawn, len(candidates))


@pytest.mark.parametrize("chance", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 999_999])
def test_the_ends_of_chance_are_agents_too(chance: float, size: int) -> None:
    agent = Agent("a", 0)

    class Crowd(AgentRegistry):
        online = [agent] * size

    candidates = Agents(chat("client"), Crowd(size), lambda: chance)
    assert candidates.random() is agent
    assert len(candidates.sample(3)) == min(3, size)


def test_of_nobody_none_is_chosen() -> None:
    for candidates in (agents(0, None), agents(1, 0)):
        assert list(candidates) == []
        assert candidates.sample(2) == []
        with pytest.raises(IndexError):
            candidates.random()
