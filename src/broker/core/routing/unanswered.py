"""Messages that agents have been sent and have not answered yet."""

from collections import OrderedDict
from typing import NamedTuple

from broker.core.agent import Agent


class Ahead(NamedTuple):
    """What lies ahead of an agent."""

    messages: int  # that it has not answered
    oldest_at: float  # when the oldest of them was routed


NOTHING = Ahead(0, 0.0)


class Unanswered:
    """The unanswered messages of each agent, in the order in which they were routed.

    Not all messages are ever answered. So none is kept for longer than `max_age`, and at most
    `most` are kept; the oldest go.

    Args:
        most: How many messages are kept.
        max_age: Seconds after which no answer is waited for any more.

    Attributes:
        elsewhere: How many messages of other brokers are assumed to lie ahead of each agent.
    """

    def __init__(self, most: int, max_age: float) -> None:
        self.elsewhere = 0
        self._most = most
        self._max_age = max_age
        self._all: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._by_agent: dict[str, OrderedDict[str, float]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def ahead_of(self, agent_id: str) -> Ahead:
        """Return what an agent has not answered. O(1)."""
        messages = self._by_agent.get(agent_id)
        if messages is None:
            return NOTHING
        return Ahead(len(messages), next(iter(messages.values())))

    def routed(self, agent_id: str, message_id: str, now: float) -> None:
        """Take note of a message that may be answered. O(1)."""
        self._forget(agent_id, message_id)  # a repeated one is the latest
        if len(self._all) >= self._most:
            self._forget(*next(iter(self._all)))
        self._all[agent_id, message_id] = now
        self._by_agent.setdefault(agent_id, OrderedDict())[message_id] = now

    def answered(self, agent_id: str, message_id: str, now: float) -> float | None:
        """Take note of an answer, and return after how many seconds it came. O(1).

        None if the agent was not sent that message, or if that is forgotten.
        """
        routed_at = self._forget(agent_id, message_id)
        return None if routed_at is None else now - routed_at

    def expire(self, now: float) -> list[str]:
        """Forget what is too old, and return the agents, once for each message. O(forgotten)."""
        late = []
        while self._all:
            (agent_id, message_id), routed_at = next(iter(self._all.items()))
            if now - routed_at <= self._max_age:
                break
            self._forget(agent_id, message_id)
            late.append(agent_id)
        return late

    def arrived(self, agent: Agent) -> None:
        """Do nothing: nothing lies ahead of a newcomer."""

    def departed(self, agent_id: str) -> None:
        """Forget what an agent was sent: nobody knows whether it will ever answer. O(that)."""
        for message_id in self._by_agent.pop(agent_id, ()):
            del self._all[agent_id, message_id]

    def _forget(self, agent_id: str, message_id: str) -> float | None:
        routed_at = self._all.pop((agent_id, message_id), None)
        if routed_at is not None:
            messages = self._by_agent[agent_id]
            del messages[message_id]
            if not messages:
                del self._by_agent[agent_id]
        return routed_at
