"""How often the server is asked about senders that the registry does not know."""

import gc
from collections.abc import Callable

import pytest

from broker.router.unknown_senders import UnknownSenders


class Rig:
    """Unknown senders with a clock set by hand, and a note of when the server was asked.

    Attributes:
        now: The time in seconds.
        known: The agents that the registry knows.
        asked: When a status was wanted.
        answered: When what was wanted had come.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.known: set[str] = set()
        self.asked: list[float] = []
        self.answered: list[float] = []
        self.senders = UnknownSenders(
            is_known=self.known.__contains__,
            status_wanted=lambda: self.asked.append(self.now),
            status_answered=lambda: self.answered.append(self.now),
            now=lambda: self.now,
        )

    def hear(self, *sender_ids: str, seconds: int, then: Callable[[], None] = lambda: None) -> None:
        """Let senders send once a second, and something happen after that."""
        for _ in range(seconds):
            for sender_id in sender_ids:
                self.senders.noticed(sender_id)
            then()
            self.now += 1

    def answer_each_question(self) -> None:
        if self.asked and self.asked[-1] == self.now:
            self.senders.status_updated(is_full=True)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_pauses_grow_while_nobody_answers(rig: Rig) -> None:
    rig.hear("stranger", seconds=2000)
    assert rig.asked == [0, 10, 30, 70, 150, 310, 630, 1230, 1830]
    assert rig.answered == []


def test_the_pauses_grow_while_the_answer_does_not_list_the_sender(rig: Rig) -> None:
    rig.hear("stranger", seconds=2000, then=rig.answer_each_question)
    assert rig.asked == [0, 10, 30, 70, 150, 310, 630, 1230, 1830]


def test_senders_of_different_names_have_pauses_of_their_own(rig: Rig) -> None:
    rig.hear("stranger", seconds=60)
    asked = len(rig.asked)
    rig.senders.noticed("another")
    assert rig.asked[asked:] == [60]


def test_a_full_update_answers_for_all_senders(rig: Rig) -> None:
    """Else a crowd of them, each with its own pause, would ask all the time."""
    strangers = [f"stranger {number}" for number in range(100)]
    rig.hear(*strangers, seconds=2000, then=rig.answer_each_question)
    assert len(set(rig.asked)) < 15


def test_what_a_full_update_has_just_told_is_not_asked(rig: Rig) -> None:
    rig.senders.status_updated(is_full=True)
    rig.hear("stranger", seconds=30)
    assert rig.asked[0] == 5


def test_a_server_that_sends_full_updates_by_itself_is_not_asked_again(rig: Rig) -> None:
    def update() -> None:
        if rig.now % 20 == 0:
            rig.senders.status_updated(is_full=True)

    rig.hear("stranger", seconds=3000, then=update)
    assert len(rig.asked) < 5


def test_a_question_is_answered_by_any_full_update(rig: Rig) -> None:
    rig.senders.noticed("stranger")
    rig.senders.status_updated(is_full=True)
    assert rig.answered == [0]


def test_a_question_is_answered_by_an_update_that_names_the_sender(rig: Rig) -> None:
    rig.senders.noticed("stranger")
    rig.senders.noticed("another")
    rig.known.add("stranger")
    rig.senders.status_updated(is_full=False)
    assert rig.answered == []
    rig.known.add("another")
    rig.senders.status_updated(is_full=False)
    assert rig.answered == [0]
    rig.senders.status_updated(is_full=False)
    assert rig.answered == [0]


def test_an_hour_later_it_is_asked_as_at_first(rig: Rig) -> None:
    rig.hear("stranger", seconds=2000)
    rig.now += 3601
    del rig.asked[:]
    started = rig.now
    rig.hear("stranger", seconds=12)
    assert rig.asked == [started, started + 10]


@pytest.mark.parametrize("sender_id", ["", "x" * 256, "a\n", "\0"])
def test_what_cannot_be_an_agent_is_not_asked_about(sender_id: str, rig: Rig) -> None:
    rig.senders.noticed(sender_id)
    assert rig.asked == []


def test_a_new_name_for_each_message_is_not_asked_about_for_ever(rig: Rig) -> None:
    for number in range(20_000):
        rig.senders.noticed(f"{number} \ud83d")
        rig.now += 0.1
    for number in range(20_000):
        rig.senders.noticed(f"again {number}")
        rig.now += 0.1
    late = [at for at in rig.asked if at > 2_000]
    assert len(late) < len(rig.asked) / 2


def test_any_number_of_senders_takes_little_memory(rig: Rig) -> None:
    for number in range(50_000):
        rig.senders.noticed(f"{number}" + "x" * 200)
        rig.now += 1
    held = {id(value) for value in gc.get_referents(rig.senders._asked)}  # noqa: SLF001
    assert len(held) <= 2 * 1024
