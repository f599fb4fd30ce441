"""Messages that agents have been sent and have not answered yet."""

from collections import OrderedDict

import msgspec

from broker.core.agent import Agent


class Ahead(msgspec.Struct):
    """What lies ahead of an agent, to be read before anything changes."""

    messages: int = 0  # that it has not answered
    oldest_at: float = 0.0  # when the oldest of them was routed


NOTHING = Ahead()


class _Waiting(Ahead):
    """The same with the messages; to read the oldest of them anew would be half of a decision."""

    routed_at: OrderedDict[str, float] = msgspec.field(default_factory=OrderedDict)  # by id

    def routed(self, message_id: str, now: float) -> None:
        """Add the latest message."""
        self.routed_at[message_id] = now
        self.messages += 1
        if self.messages == 1:
            self.oldest_at = now

    def forget(self, message_id: str) -> None:
        """Take out a message."""
        del self.routed_at[message_id]
        self.messages -= 1
        if self.messages:
            self.oldest_at = next(iter(self.routed_at.values()))


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
        self._by_agent: dict[str, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._all)

    def ahead_of(self, agent_id: str) -> Ahead:
        """Return what an agent has not answered. O(1)."""
        return self._by_agent.get(agent_id, NOTHING)

    def routed(self, agent_id: str, message_id: str, now: float) -> None:
        """Take note of a message that may be answered. O(1)."""
        self._forget(agent_id, message_id)  # a repeated one is the latest
        if len(self._all) >= self._most:
            self._forget(*next(iter(self._all)))
        self._all[agent_id, message_id] = now
        waiting = self._by_agent.get(agent_id)
        if waiting is None:
            waiting = self._by_agent[agent_id] = _Waiting()
        waiting.routed(message_id, now)

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
        waiting = self._by_agent.pop(agent_id, None)
        for message_id in () if waiting is None else waiting.routed_at:
            del self._all[agent_id, message_id]

    def _forget(self, agent_id: str, message_id: str) -> float | None:
        routed_at = self._all.pop((agent_id, message_id), None)
        if routed_at is not None:
            waiting = self._by_agent[agent_id]
            waiting.forget(message_id)
            if not waiting.messages:
                del self._by_agent[agent_id]
        return routed_at
