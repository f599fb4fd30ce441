from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from broker.core.messages import AgentStatus, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.status import snapshot
from broker.status.vitals import Vitals
from broker.telemetry.tally import MessageOutcome, MessageTally
from tests.core.registries import apply

SEEN = datetime(2026, 1, 1, tzinfo=UTC)


def vitals(registry: AgentRegistry, tally: MessageTally | None = None) -> Vitals:
    router = SimpleNamespace(registry=registry)
    known = SimpleNamespace(router=router, messages=tally or MessageTally())
    return cast("Vitals", cast("Any", known))


def registry(*agents: AgentStatus) -> AgentRegistry:
    made = AgentRegistry(max_agents=1_000_000)
    apply(made, StatusUpdate({agent.agent_id: agent for agent in agents}))
    return made


async def names(known: AgentRegistry, search: str, limit: int = 10) -> tuple[list[str], int]:
    listed = await snapshot.agents(vitals(known), search, limit)
    assert listed.known == known.known_count
    return [agent.agent_id for agent in listed.agents], listed.matching


async def test_online_ones_come_first_and_then_it_goes_by_name() -> None:
    known = registry(
        AgentStatus("1", "zoe", is_online=True),
        AgentStatus("2", "adam"),
        AgentStatus("3", "Bob", is_online=True),
        AgentStatus("4", "alice", is_online=True),
    )
    assert await names(known, "") == (["4", "3", "1", "2"], 4)
    assert await names(known, "", limit=2) == (["4", "3"], 4)


async def test_a_search_looks_at_ids_and_names_in_any_case() -> None:
    known = registry(
        AgentStatus("agent-X", "Straße", is_online=True), AgentStatus("other", "nobody")
    )
    assert await names(known, "AGENT-x") == (["agent-X"], 1)
    assert await names(known, "STRASSE") == (["agent-X"], 1)
    assert await names(known, "o") == (["other"], 1)
    assert await names(known, "none such") == ([], 0)


async def test_of_very_many_an_id_is_found_all_the_same() -> None:
    crowd = [AgentStatus(f"crowd-{number}", is_online=True) for number in range(150_000)]
    known = registry(*crowd, AgentStatus("needle"))
    assert await names(known, "needle") == (["needle"], 1)
    listed, matching = await names(known, "crowd", limit=5)
    assert len(listed) == 5
    assert matching == 100_000


async def test_an_entry_tells_the_share_of_all_routed_messages() -> None:
    known = registry(AgentStatus("a", "A", is_online=True, last_seen=SEEN), AgentStatus("b", "B"))
    tally = MessageTally()
    for receiver in "aab":
        known.count_routed(receiver)
        tally.decided("in", "TEXT", MessageOutcome.ROUTED, redelivered=False)
    first, second = (await snapshot.agents(vitals(known, tally), "", 10)).agents
    assert (first.agent_id, first.routed, first.last_seen) == ("a", 2, SEEN)
    assert first.share == 2 / 3
    assert (second.is_online, second.share) == (False, 1 / 3)


async def test_before_anything_is_routed_every_share_is_nothing() -> None:
    known = registry(AgentStatus("a", is_online=True))
    (entry,) = (await snapshot.agents(vitals(known), "", 10)).agents
    assert entry.share == 0
