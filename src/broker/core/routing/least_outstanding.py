"""The policy `least_outstanding`: of two agents, the one with less work ahead of it."""

from collections.abc import Callable
from math import exp

import msgspec

from broker.core.agent import Agent
from broker.core.messages import ChatMessage
from broker.core.routing.agents import Agents
from broker.core.routing.unanswered import Unanswered

_MEMORY = 60.0
"""Seconds after which an answer time counts for a third of what it did."""
_USUAL_WEIGHT = 0.01
"""Of one answer time in the average over all agents."""
_UNKNOWN = 1e9
"""What a second message costs an agent before its first answer, in seconds. Nearly anybody else is
better, but if there are only such agents, it is the one with fewer messages."""


class _AnswerTime(msgspec.Struct, gc=False):
    """How long an agent takes to answer, as it was known at some time."""

    seconds: float
    known_at: float


class Cost(msgspec.Struct, frozen=True):
    """What a message would cost an agent, and why."""

    agent_id: str
    cost: float  # seconds, more or less
    outstanding: int  # messages that it has not answered
    answer_seconds: float | None = None  # that it takes to answer, if that is known
    waiting_seconds: float | None = None  # since the oldest of them was routed
    is_silent: bool = False  # it has never answered: it counts as one with the usual answer time


class LeastOutstanding:
    """Chooses two agents at random, and of them the one that is likely to answer first.

    What a message costs an agent is the number of messages that it has not answered, this one
    included, times how long its answers take (peak EWMA, as in Finagle): the average of its latest
    answer times, which follows a longer one at once and shorter ones slowly, or for how long the
    oldest unanswered message has waited, if that is more. So an agent that hangs gets less and
    less, and once its messages are too old to wait for, it is tried again. What an agent took long
    ago fades as well, or one that was slow once would never get the chance to be fast. A newcomer
    gets one message, and more once it has answered.

    Several brokers on the same queues do not know what lies ahead of an agent by way of the others.
    So each of them counts one message more, once it has heard of others.

    One that never answers may not do so by design. When its first messages have become too old, it
    counts as silent until it answers: whatever lies ahead of it, it costs as much as an agent with
    the usual answer time and one message to answer, and so gets about as much as with `random`.

    Args:
        unanswered: The messages that agents have ahead of them; somebody else keeps it up to date.
        clock: Returns seconds, from any start.
    """

    def __init__(self, unanswered: Unanswered, clock: Callable[[], float]) -> None:
        self._unanswered = unanswered
        self._clock = clock
        self._answer_times: dict[str, _AnswerTime] = {}
        self._usual = _AnswerTime(0.0, clock())
        self._silent: set[str] = set()

    def __call__(self, message: ChatMessage, agents: Agents, /) -> Agent:  # noqa: ARG002 - a policy
        """Choose the better one of two. O(1)."""
        two = agents.sample(2)
        if len(two) == 1:
            return two[0]
        first, second = two
        now = self._clock()
        cost = self._cost(first, now)
        # Nobody costs less than nothing, which is what newcomers do.
        return second if cost and self._cost(second, now) < cost else first

    def _cost(self, agent: Agent, now: float) -> float:
        agent_id = agent.agent_id
        ahead = self._unanswered.ahead_of(agent_id)
        count, oldest_at = ahead.messages, ahead.oldest_at
        known = self._answer_times.get(agent_id)
        if known is None:
            if agent_id not in self._silent:
                return count * _UNKNOWN
            known, count, oldest_at = self._usual, 1, now
        seconds = known.seconds * exp((known.known_at - now) / _MEMORY)
        if count and now - oldest_at > seconds:
            seconds = now - oldest_at
        return (count + 1 + self._unanswered.elsewhere) * seconds

    def cost_of(self, agent: Agent) -> Cost:
        """Return what a message would cost an agent, for people. Changes nothing."""
        now = self._clock()
        ahead = self._unanswered.ahead_of(agent.agent_id)
        return Cost(
            agent.agent_id,
            self._cost(agent, now),
            outstanding=ahead.messages,
            answer_seconds=self.answer_time(agent.agent_id),
            waiting_seconds=now - ahead.oldest_at if ahead.messages else None,
            is_silent=agent.agent_id in self._silent,
        )

    def answer_time(self, agent_id: str) -> float | None:
        """Return how many seconds an agent takes to answer; None if that is not known."""
        known = self._answer_times.get(agent_id)
        return None if known is None else known.seconds

    def answered(self, agent_id: str, seconds: float) -> None:
        """Learn from an answer."""
        self._silent.discard(agent_id)
        now = self._clock()
        usual = self._usual
        usual.seconds += (seconds - usual.seconds) * (_USUAL_WEIGHT if usual.seconds else 1)
        usual.known_at = now
        known = self._answer_times.get(agent_id)
        if known is None:
            self._answer_times[agent_id] = _AnswerTime(seconds, now)
            return
        weight = exp((known.known_at - now) / _MEMORY) if seconds < known.seconds else 0.0
        known.seconds = weight * known.seconds + (1 - weight) * seconds
        known.known_at = now

    def unanswered(self, agent_id: str) -> None:
        """Learn that a message was not answered in time."""
        if agent_id not in self._answer_times:
            self._silent.add(agent_id)

    def departed(self, agent_id: str) -> None:
        """Forget an agent that is not online any more."""
        self._answer_times.pop(agent_id, None)
        self._silent.discard(agent_id)
