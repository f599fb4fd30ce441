"""What is answered, here and at other brokers."""

import pytest

from broker.core.messages import Answer, AnswersSeen
from broker.core.routing.unanswered import Unanswered
from broker.router import answers as answers_module
from broker.router.answers import Answers
from broker.router.decision import Decision
from broker.telemetry.histogram import Histogram
from broker.telemetry.tally import MessageOutcome

MAX_AGE = 300.0


class Broker:
    """Follows answers, and notes of what it is told."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.unanswered = Unanswered(most=100, max_age=MAX_AGE)
        self.answered: list[tuple[str, float]] = []
        self.given_up: list[str] = []
        self.seconds = Histogram((1.0, 10.0))
        self.answers = Answers(
            self.unanswered,
            answered=lambda agent_id, seconds: self.answered.append((agent_id, seconds)),
            given_up=self.given_up.append,
            seconds=self.seconds,
            clock=lambda: self.now,
        )

    def route(self, message_id: str | None, receiver_id: str | None = "a") -> None:
        self.follow(receiver_id=receiver_id, asks=message_id)

    def answer(self, message_id: str, agent_id: str = "a") -> None:
        self.follow(answer=Answer(agent_id, message_id))

    def follow(
        self,
        *,
        receiver_id: str | None = None,
        asks: str | None = None,
        answer: Answer | None = None,
    ) -> None:
        self.answers.follow(
            Decision(
                "TEXT", MessageOutcome.ROUTED, receiver_id=receiver_id, asks=asks, answer=answer
            )
        )

    def told(self) -> list[Answer]:
        seen = self.answers.to_tell()
        return [] if seen is None else list(seen.answers)


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_an_answer_to_what_was_routed_here_is_measured_and_not_told(broker: Broker) -> None:
    broker.route("m1")
    broker.now += 2.5
    broker.answer("m1")
    assert broker.answered == [("a", 2.5)]
    assert broker.seconds.counts == [0, 1, 0]
    assert broker.answers.to_tell() is None


def test_only_the_agent_that_was_sent_a_message_answers_it_and_once(broker: Broker) -> None:
    broker.route("m1", "a")
    broker.answer("m1", "b")
    assert broker.answered == []
    broker.answer("m1")
    broker.answer("m1")
    assert broker.answered == [("a", 0.0)]


def test_what_asks_nothing_or_reaches_nobody_waits_for_no_answer(broker: Broker) -> None:
    broker.route(None)
    broker.route("m1", None)
    assert len(broker.unanswered) == 0


def test_a_message_may_answer_one_and_ask_another(broker: Broker) -> None:
    broker.route("m1", "a")
    broker.now += 1
    broker.follow(receiver_id="b", asks="m2", answer=Answer("a", "m1"))
    assert broker.answered == [("a", 1.0)]
    broker.now += 1
    broker.answer("m2", "b")
    assert broker.answered == [("a", 1.0), ("b", 1.0)]


def test_what_is_too_old_is_given_up_before_anything_else_counts(broker: Broker) -> None:
    broker.route("m1")
    broker.route("m2")
    broker.now += MAX_AGE + 1
    broker.answer("m1")
    assert broker.given_up == ["a", "a"]
    assert broker.answered == []


def test_two_brokers_tell_each_other_of_the_answers_to_what_the_other_routed() -> None:
    here, there = Broker(), Broker()
    there.now = 50.0  # clocks begin anywhere
    here.route("m1", "a")
    there.route("m2", "b")
    for broker in (here, there):
        broker.now += 4
    here.answer("m2", "b")
    there.answer("m1", "a")
    there.now += 0.25  # until something else is published there

    for teller, hearer in ((here, there), (there, here)):
        seen = teller.answers.to_tell()
        assert seen is not None
        hearer.answers.heard(seen)

    assert here.answered == [("a", 3.75)], "the time that the telling took does not count"
    assert there.answered == [("b", 4.25)]
    assert len(here.unanswered) == len(there.unanswered) == 0


def test_answers_to_what_nobody_routed_are_told_and_forgotten(broker: Broker) -> None:
    broker.answer("m1")
    assert broker.told() == [Answer("a", "m1", 0.0)]
    broker.now += 10
    assert broker.answers.to_tell() is None
    broker.answers.heard(AnswersSeen([Answer("a", "m9", 1.0)]))
    assert broker.answered == []
    assert broker.answers.to_tell() is None, "what was heard is not told again"


def test_answers_are_told_in_batches_and_with_their_ages(broker: Broker) -> None:
    broker.answer("m1")
    assert broker.told() == [Answer("a", "m1", 0.0)]
    for number in (2, 3):
        broker.now += 0.04
        broker.answer(f"m{number}")
        assert broker.answers.to_tell() is None, "it has told something just now"
    broker.now += 0.04
    assert broker.told() == [Answer("a", "m2", 0.08), Answer("a", "m3", 0.04)]


def test_the_latest_of_too_many_answers_are_told(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_module, "_LARGEST_BATCH", 3)
    for number in range(5):
        broker.answer(f"m{number}")
    assert [answer.message_id for answer in broker.told()] == ["m2", "m3", "m4"]
    broker.now += 10
    assert broker.answers.to_tell() is None


def test_an_answer_that_seems_to_come_before_its_question_took_no_time(broker: Broker) -> None:
    broker.route("m1")
    broker.answers.heard(AnswersSeen([Answer("a", "m1", 30.0)]))
    assert broker.answered == [("a", 0.0)]
