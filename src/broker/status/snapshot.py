"""The broker at one moment, for people and programs."""

from heapq import nsmallest
from itertools import batched
from typing import Literal

import trio

from broker.concurrency.cooperation import let_others_run
from broker.core.agent import Agent
from broker.status.model import (
    AgentEntry,
    AgentList,
    Connections,
    DeadLetters,
    Messages,
    Rates,
    RegistryStatus,
    Status,
)
from broker.status.readiness import readiness
from broker.status.vitals import Vitals
from broker.telemetry.tally import MessageOutcome, outcomes
from broker.version import __version__

_SEARCHED_AGENTS = 100_000
"""A search that reads a million names every other second would take its time from the routing."""
_SLICE = 1_000


def status(vitals: Vitals, rates: Rates) -> Status:
    """Return the state of the broker."""
    checks = readiness(vitals)
    messages, publishings = vitals.messages, vitals.publishings
    registry = vitals.router.registry
    return Status(
        broker_id=vitals.router.broker_id,
        broker_name=vitals.broker_name,
        version=__version__,
        started_at=vitals.started_at,
        uptime_seconds=trio.current_time() - vitals.started,
        state=_state(vitals),
        ready=all(check.problem is None for check in checks),
        checks=checks,
        connections=Connections(
            rabbitmq=vitals.amqp.connectivity.status(is_blocked=vitals.amqp.is_blocked),
            server=vitals.central.connectivity.status(),
        ),
        registry=RegistryStatus(
            online=registry.online_count,
            known=registry.known_count,
            is_fresh=vitals.consumption.is_open,
            age_seconds=vitals.registry_age,
        ),
        rates=rates,
        in_flight=vitals.amqp.in_flight,
        messages=Messages(
            received=messages.received.total(),
            redelivered=messages.redelivered,
            outcomes=outcomes(messages, publishings),
        ),
        dead_letters=DeadLetters(
            by_reason={code: count for code, count in publishings.dead_lettered.items() if count},
            latest=list(publishings.latest_dead_letters)[::-1],
        ),
    )


async def agents(vitals: Vitals, search: str, limit: int) -> AgentList:
    """Return the agents that match a search, online ones first, then by name.

    Args:
        search: A part of the id or of the name, in any case; empty for all of them. An id is found
            wherever it is; otherwise it is looked for among the first 100,000.
    """
    registry, wanted = vitals.router.registry, search.casefold()
    matching = 0
    best: list[Agent] = []
    for some in batched(registry.first(_SEARCHED_AGENTS), _SLICE, strict=False):
        found = [agent for agent in some if _matches(agent, wanted)]
        matching += len(found)
        best = nsmallest(limit, [*best, *found], key=_rank)
        await let_others_run()
    if search in registry and registry[search] not in best:
        best = [registry[search], *best[: limit - 1]]
        matching = max(matching, len(best))
    routed = vitals.messages.outcomes[MessageOutcome.ROUTED]
    entries = [_entry(agent, routed) for agent in best]
    return AgentList(registry.known_count, matching, entries)


def _state(vitals: Vitals) -> Literal["routing", "paused", "stopping"]:
    if vitals.stop_requested.is_set():
        return "stopping"
    return "routing" if vitals.is_routing else "paused"


def _matches(agent: Agent, wanted: str) -> bool:
    return wanted in agent.agent_id.casefold() or wanted in agent.agent_name.casefold()


def _rank(agent: Agent) -> tuple[bool, str, str]:
    return not agent.is_online, agent.agent_name.casefold(), agent.agent_id


def _entry(agent: Agent, all_routed: int) -> AgentEntry:
    return AgentEntry(
        agent_id=agent.agent_id,
        agent_name=agent.agent_name,
        is_online=agent.is_online,
        last_seen=agent.last_seen,
        routed=agent.routed,
        share=agent.routed / all_routed if all_routed else 0.0,
    )
