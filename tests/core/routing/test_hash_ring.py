"""The ring: keys stay with their agents while others come and go, at every broker alike."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.agent import Agent
from broker.core.routing.hash_ring import HashRing

AGENT_IDS = st.text(max_size=5)
KEYS = [f"conversation {number}" for number in range(50)]


AGENTS: dict[str, Agent] = {}


def agent(agent_id: str) -> Agent:
    return AGENTS.setdefault(agent_id, Agent(agent_id, 0))


def ring_of(agent_ids: Iterable[str]) -> HashRing:
    ring = HashRing()
    for agent_id in agent_ids:
        ring.add(agent(agent_id))
    return ring


def owners(ring: HashRing, keys: Iterable[str] = KEYS) -> list[str | None]:
    return [None if owner is None else owner.agent_id for owner in map(ring.owner, keys)]


def nearest(ring: HashRing, keys: Iterable[str], agent_ids: Iterable[str]) -> list[str | None]:
    """Return to whom of some agents keys belong."""
    some = {agent(agent_id) for agent_id in agent_ids}
    found = [ring.nearest(key, some) for key in keys]
    return [None if owner is None else owner.agent_id for owner in found]


def many_keys(count: int) -> list[str]:
    return [f"key {number}" for number in range(count)]


def agents(begin: int, end: int) -> list[str]:
    return [f"agent{number}" for number in range(begin, end)]


def test_a_ring_of_nobody_has_nobody() -> None:
    ring = ring_of([])
    assert owners(ring) == [None] * len(KEYS)
    ring.add(agent("a"))
    ring.remove("a")
    ring.remove("a")
    assert len(ring) == 0
    assert owners(ring) == [None] * len(KEYS)


@given(online=st.sets(AGENT_IDS, min_size=1, max_size=6), data=st.data())
def test_it_does_not_matter_in_which_order_agents_were_learned(
    online: set[str], data: st.DataObject
) -> None:
    here = ring_of(sorted(online))
    there = HashRing()
    # Others came and went meanwhile, and some came twice.
    passers_by = data.draw(st.sets(AGENT_IDS, max_size=6)) - online
    arrivals = data.draw(st.permutations([*online, *passers_by, *online]))
    for agent_id in arrivals:
        there.add(agent(agent_id))
    for agent_id in data.draw(st.permutations(sorted(passers_by))):
        there.remove(agent_id)

    assert len(here) == len(there) == len(online)
    assert owners(here) == owners(there)
    assert {*owners(here)} <= online


@pytest.fixture(scope="module")
def growing() -> HashRing:
    """1,300 agents, which have fewer points than up to a thousand have."""
    return ring_of(agents(0, 1_300))


def test_without_a_filter_the_owner_is_the_nearest() -> None:
    online = agents(0, 7)
    assert nearest(ring_of(online), KEYS, online) == owners(ring_of(online))


def test_an_agent_that_comes_again_is_known_in_its_new_form() -> None:
    ring = ring_of(["a"])
    ring.add(changed := Agent("a", 1))
    assert ring.owner("key") is changed
    assert len(ring) == 1


def test_nor_does_it_above_a_thousand_agents_which_have_fewer_points(growing: HashRing) -> None:
    shrunk = ring_of(agents(0, 1_500)[::-1])
    for agent_id in agents(1_300, 1_500):
        shrunk.remove(agent_id)
    keys = many_keys(2_000)
    assert owners(shrunk, keys) == owners(growing, keys)


def test_below_a_thousand_agents_only_keys_of_the_agent_that_comes_or_goes_move() -> None:
    ring, keys = ring_of(agents(0, 100)), many_keys(20_000)
    before = owners(ring, keys)
    ring.remove("agent7")
    after = owners(ring, keys)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {old for old, _ in moved} == {"agent7"}
    assert "agent7" not in after
    assert 0 < len(moved) / len(keys) <= 1.5 / 100
    assert len({new for _, new in moved}) > 50, "all others share what it had"
    ring.add(agent("agent7"))
    assert owners(ring, keys) == before


@pytest.mark.parametrize(("few", "many"), [(990, 1_020), (1_250, 1_290)])
def test_across_a_thousand_agents_few_other_keys_move(few: int, many: int) -> None:
    ring, keys = ring_of(agents(0, few)), many_keys(20_000)
    before = owners(ring, keys)
    for agent_id in agents(few, many):
        ring.add(agent(agent_id))
    after = owners(ring, keys)
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    # Each arrival moves at most so much of all keys, and later ones some of the same.
    assert 0 < moved / len(keys) <= 1.5 * (many - few) / few
    newcomers = {*agents(few, many)}
    assert sum(new in newcomers for new in after) > moved / 2
    for agent_id in agents(few, many):
        ring.remove(agent_id)
    assert owners(ring, keys) == before


def test_the_shares_of_a_hundred_agents_are_alike() -> None:
    keys = many_keys(100_000)
    shares = Counter(owners(ring_of(agents(0, 100)), keys))
    assert len(shares) == 100
    fair = len(keys) / 100
    assert 0.8 * fair < min(shares.values()) <= max(shares.values()) < 1.2 * fair


@given(
    online=st.sets(AGENT_IDS, min_size=1, max_size=8),
    data=st.data(),
)
def test_agents_that_may_not_receive_a_message_are_passed_over(
    online: set[str], data: st.DataObject
) -> None:
    ring = ring_of(online)
    candidates = data.draw(st.sets(st.sampled_from(sorted(online)), min_size=1))
    unfiltered, filtered = owners(ring), nearest(ring, KEYS, candidates)
    for owner, receiver in zip(unfiltered, filtered, strict=True):
        if owner in candidates:
            assert receiver == owner
        else:
            # Among so few agents, there may be none near.
            assert receiver is None or receiver in candidates


def test_a_filter_of_half_of_the_agents_leaves_each_key_with_somebody_near() -> None:
    ring = ring_of(agents(0, 200))
    candidates = agents(0, 100)
    keys = many_keys(10_000)
    receivers = nearest(ring, keys, candidates)
    assert {*receivers} == {*candidates}
    without = nearest(ring, keys, candidates[1:])
    moved = {old for old, new in zip(receivers, without, strict=True) if old != new}
    assert moved == {"agent0"}
