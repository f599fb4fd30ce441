"""The registry under the eyes of a plain set, which says who may receive a message."""

from collections.abc import Iterator
from typing import Any, cast

from broker.core.agent import Agent
from broker.core.messages import ChatMessage, Rejected, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.core.routing.failure import FailureReason
from broker.core.routing.route import route
from tests.simulation.trace import Trace


class WatchedRegistry(AgentRegistry):
    """Notes in the trace when a choice is wrong."""

    def __init__(self, trace: Trace, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._trace = trace
        self._truth: set[str] = set()
        self._before: set[str] | None = None
        """The truth before the update that is being applied: then either will do."""

    def judge(self, sender_id: str, chosen: Agent | FailureReason | Rejected) -> None:
        """Note what is wrong with a choice."""
        before = self._truth if self._before is None else self._before
        if not isinstance(chosen, Agent):
            if (self._truth & before) - {sender_id}:
                self._trace.violation(f"nobody was found to receive a message of {sender_id}")
        elif chosen.agent_id == sender_id:
            self._trace.violation(f"{sender_id} was chosen to receive its own message")
        elif chosen.agent_id not in self._truth | before:
            self._trace.violation(f"{chosen.agent_id} was chosen, but is not online")

    def register(self, agent_id: str, *details: Any) -> None:
        super().register(agent_id, *details)
        self._truth.add(agent_id)

    def disconnect(self, agent_id: str, *details: Any) -> None:
        super().disconnect(agent_id, *details)
        self._truth.discard(agent_id)

    def applying(self, update: StatusUpdate, *details: Any) -> Iterator[Any]:
        self._before = set(self._truth)
        if update.is_full:
            self._truth.clear()
        for status in update.agents.values():
            (self._truth.add if status.is_online else self._truth.discard)(status.agent_id)
        yield from super().applying(update, *details)
        self._before = None


def watched_route(
    message: ChatMessage, registry: AgentRegistry, **how: Any
) -> Agent | FailureReason | Rejected:
    """Route a message, and have the registry judge it."""
    chosen = route(message, registry, **how)
    cast("WatchedRegistry", registry).judge(message.sender_id, chosen)
    return chosen
