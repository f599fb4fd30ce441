"""The agents, as people and programs list them: filtered, in order, a page at a time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from heapq import merge, nlargest, nsmallest
from itertools import batched, chain, islice
from typing import Any

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


class Sort(StrEnum):
    """What agents are listed by; those with the same value, by name."""

    STATE = "state"  # online ones first
    NAME = "name"
    LAST_SEEN = "last_seen"  # the latest first, likewise below
    LAST_MESSAGE = "last_message"
    ROUTED = "routed"  # the most first, likewise below
    OUTSTANDING = "outstanding"
    ANSWER = "answer_seconds"


class AgentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which agents are listed.

    An id is found wherever it is, and then listed first. Otherwise the search is for a part of it
    or of the name, in any case, among the first 100,000 agents, online ones before others.
    """

    search: str = ""  # empty for all
    online: bool = False  # only those online
    offline: bool = False  # only the others; with both, nobody
    capability: str = ""  # only those that have it; empty for all
    sort: Sort = Sort.STATE
    is_reversed: bool = False  # agents without the value stay last
    offset: int = 0  # how many are passed over
    limit: int = 100


async def agents(vitals: Vitals, query: AgentQuery) -> AgentList:
    """Return a page of the agents that match a query, in its order.

    Other tasks run after each thousand agents. With a capability, and only those online, no other
    agents are looked at.
    """
    registry = vitals.router.registry
    order = _order(query, vitals.router)
    end = query.offset + query.limit
    named = _named(registry, query)
    matching, ranked = len(named), []
    for some in batched(_candidates(registry, query), _SLICE, strict=False):
        found = [agent for agent in some if _matches(agent, query)]
        matching += len(found)
        ranked.append(order.first(end, found))
        await let_others_run()
    listed: list[Agent] = []
    in_order = chain(named, order.merged(ranked))
    for some in batched(islice(in_order, end), _SLICE, strict=False):
        listed += some
        await let_others_run()
    routed = vitals.messages.outcomes[MessageOutcome.ROUTED]
    entries = [_entry(agent, vitals.router, routed) for agent in listed[query.offset :]]
    return AgentList(registry.known_count, matching, entries)


def _named(registry: AgentRegistry, query: AgentQuery) -> Sequence[Agent]:
    """Return the agent with the very id that is searched for, unless it is filtered out."""
    agent = registry.get(query.search)
    if agent is None or not _has(agent, query.capability):
        return ()
    return () if (query.offline if agent.is_online else query.online) else (agent,)


def _candidates(registry: AgentRegistry, query: AgentQuery) -> Sequence[Agent]:
    """Return the agents to look at, in a list of their own: they come and go meanwhile."""
    some: Sequence[Agent] = ()
    if not query.offline:
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


class _Order(msgspec.Struct, frozen=True):
    """The order of a list. It is the same for all pages, as ids differ."""

    key: Callable[[Agent], Any]
    is_descending: bool = False

    def first(self, count: int, some: Sequence[Agent]) -> Sequence[Agent]:
        """Return the first of some agents, in order."""
        return (nlargest if self.is_descending else nsmallest)(count, some, key=self.key)

    def merged(self, lists: Sequence[Sequence[Agent]]) -> Iterable[Agent]:
        """Merge lists that are in order."""
        return merge(*lists, key=self.key, reverse=self.is_descending)


def _order(query: AgentQuery, router: Router) -> _Order:
    if query.sort is Sort.NAME:
        return _Order(_name, query.is_reversed)
    value = _VALUES[query.sort]
    sign = 1 if query.is_reversed else -1

    def key(agent: Agent) -> tuple[bool, float, tuple[str, str]]:
        number = value(agent, router)
        return number is None, 0 if number is None else sign * number, _name(agent)

    return _Order(key)


def _name(agent: Agent) -> tuple[str, str]:
    return agent.agent_name.casefold(), agent.agent_id


def _seconds(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    # Without a time zone it is some server's own. As local time, early years would overflow.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_VALUES: Mapping[Sort, Callable[[Agent, Router], float | None]] = {
    Sort.STATE: lambda agent, _: agent.is_online,
    Sort.LAST_SEEN: lambda agent, _: _seconds(agent.last_seen),
    Sort.LAST_MESSAGE: lambda agent, router: router.last_messages.at(agent.agent_id),
    Sort.ROUTED: lambda agent, _: agent.routed,
    Sort.OUTSTANDING: lambda agent, router: router.choosing.outstanding(agent.agent_id),
    Sort.ANSWER: lambda agent, router: router.choosing.answer_time(agent.agent_id),
}


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
