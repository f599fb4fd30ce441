"""Follow which messages are answered, here and by way of the other brokers.

An answer comes to the input queue as any message does, so of several brokers on the same queues it
may come to another than the one that routed the question. Each tells the others of the answers to
what it did not route, in batches: at most ten times a second, when it publishes something anyway.
"""

from collections.abc import Callable

from broker.core.messages import Answer, AnswersSeen
from broker.core.routing.unanswered import Unanswered
from broker.router.decision import Decision
from broker.telemetry.histogram import Histogram

_INTERVAL = 0.1
"""Seconds between two batches."""
_LARGEST_BATCH = 5_000
"""Answers: some hundred kilobytes."""

type Answered = Callable[[str, float], None]
"""Takes the id of an agent that has answered, and after how many seconds."""


class Answers:
    """Keeps the unanswered messages up to date, and tells of answers.

    Args:
        answered: Called for each answer to a message that was routed here.
        given_up: Called with the id of an agent for each message that is too old for an answer.
        seconds: Observes how long answers take.
        clock: Returns seconds, from any start.
    """

    def __init__(
        self,
        unanswered: Unanswered,
        *,
        answered: Answered,
        given_up: Callable[[str], None],
        seconds: Histogram,
        clock: Callable[[], float],
    ) -> None:
        self._unanswered = unanswered
        self._answered = answered
        self._given_up = given_up
        self._seconds = seconds
        self._clock = clock
        self._elsewhere: list[tuple[Answer, float]] = []  # and when they came
        self._told_at = float("-inf")

    def follow(self, decision: Decision) -> None:
        """Take note of what a decision asks and answers."""
        now = self._clock()
        for agent_id in self._unanswered.expire(now):
            self._given_up(agent_id)
        answer = decision.answer
        if answer is not None and not self._take(answer, now):
            # With no other broker there to hear of it, the oldest must go.
            self._elsewhere.append((answer, now))
        if decision.asks is not None and decision.receiver_id is not None:
            self._unanswered.routed(decision.receiver_id, decision.asks, now)

    def heard(self, seen: AnswersSeen) -> None:
        """Take note of answers that came to another broker."""
        # What it routed and is still unanswered is not told; some agents have one such message.
        self._unanswered.elsewhere = 1
        now = self._clock()
        for answer in seen.answers:
            self._take(answer, now)

    def to_tell(self) -> AnswersSeen | None:
        """Return the answers that the other brokers are to be told of now, and forget them."""
        now = self._clock()
        if not self._elsewhere or now - self._told_at < _INTERVAL:
            return None
        self._told_at = now
        told = [
            answer._replace(age=round(now - came_at, 3))
            for answer, came_at in self._elsewhere[-_LARGEST_BATCH:]
        ]
        self._elsewhere.clear()
        return AnswersSeen(told)

    def _take(self, answer: Answer, now: float) -> bool:
        seconds = self._unanswered.answered(answer.agent_id, answer.message_id, now)
        if seconds is None:
            return False
        seconds = max(0.0, seconds - answer.age)
        self._seconds.observe(seconds)
        self._answered(answer.agent_id, seconds)
        return True
