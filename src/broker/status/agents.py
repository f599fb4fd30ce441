"""The agents, as people and programs list them: filtered, in order, a page at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from heapq import merge, nsmallest
from itertools import batched, chain, islice

import msgspec

from broker.concurrency.cooperation import let_others_run
from broker.core.agent import Agent
from broker.core.registry import AgentRegistry
from broker.router.task import Router
from broker.status.model import AgentEntry, AgentList
from broker.status.vitals import Vitals
from broker.telemetry.tally import MessageOutcome

SEARCHED_AGENTS = 100_000
"""A search that reads a million names every other second would take its time from the routing."""
_SLICE = 1_000


class AgentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which agents are listed.

    An id is found wherever it is, and then listed first. Otherwise the search is for a part of it
    or of the name, in any case, among the first 100,000 agents; those online come first.
    """

    search: str = ""  # empty for all
    online: bool = False  # only those online
    capability: str = ""  # only those that have it; empty for all
    offset: int = 0  # how many are passed over
    limit: int = 100


async def agents(vitals: Vitals, query: AgentQuery) -> AgentList:
    """Return a page of the agents that match a query, online ones first, then by name.

    Other tasks run after each thousand agents. With a capability, and only those online, no other
    agents are looked at.
    """
    registry = vitals.router.registry
    end = query.offset + query.limit
    named = _named(registry, query)
    matching, ranked = len(named), []
    for some in batched(_candidates(registry, query), _SLICE, strict=False):
        found = [agent for agent in some if _matches(agent, query)]
        matching += len(found)
        ranked.append(nsmallest(end, found, key=_rank))
        await let_others_run()
    listed: list[Agent] = []
    in_order = chain(named, merge(*ranked, key=_rank))
    for some in batched(islice(in_order, end), _SLICE, strict=False):
        listed += some
        await let_others_run()
    routed = vitals.messages.outcomes[MessageOutcome.ROUTED]
    entries = [_entry(agent, vitals.router, routed) for agent in listed[query.offset :]]
    return AgentList(registry.known_count, matching, entries)


def _named(registry: AgentRegistry, query: AgentQuery) -> Sequence[Agent]:
    """Return the agent with the very id that is searched for, unless it is filtered out."""
    agent = registry.get(query.search)
    if agent is None or (query.online and not agent.is_online):
        return ()
    return (agent,) if _has(agent, query.capability) else ()


def _candidates(registry: AgentRegistry, query: AgentQuery) -> Sequence[Agent]:
    """Return the agents to look at, in a list of their own: they come and go meanwhile."""
    online = registry.having(query.capability) if query.capability else registry.online
    some = online[:SEARCHED_AGENTS]
    return [*some] if query.online else [*some, *registry.offline[: SEARCHED_AGENTS - len(some)]]


def _matches(agent: Agent, query: AgentQuery) -> bool:
    wanted = query.search.casefold()
    is_found = (
        not wanted or wanted in agent.agent_id.casefold() or wanted in agent.agent_name.casefold()
    )
    return (
        is_found
        and _has(agent, query.capability)
        and agent.agent_id != query.search  # which is listed already
    )


def _has(agent: Agent, capability: str) -> bool:
    return not capability or capability in agent.capabilities


def _rank(agent: Agent) -> tuple[bool, str, str]:
    return not agent.is_online, agent.agent_name.casefold(), agent.agent_id


def _entry(agent: Agent, router: Router, all_routed: int) -> AgentEntry:
    choosing = router.choosing
    follows_answers = choosing.answers is not None
    last_message_at = router.last_messages.at(agent.agent_id)
    return AgentEntry(
        agent_id=agent.agent_id,
        agent_name=agent.agent_name,
        is_online=agent.is_online,
        last_seen=agent.last_seen,
        routed=agent.routed,
        share=agent.routed / all_routed if all_routed else 0.0,
        capabilities=agent.capabilities,
        outstanding=choosing.outstanding(agent.agent_id) if follows_answers else None,
        answer_seconds=choosing.answer_time(agent.agent_id),
        last_message_at=(
            None if last_message_at is None else datetime.fromtimestamp(last_message_at, UTC)
        ),
        source="server" if router.registry.is_told_by_server(agent) else "queue",
    )
