"""Rows of answers."""

from unittest import mock

import pytest

from broker.core import hops as hops_module
from broker.core.codec import decode_input
from broker.core.hops import HopCounter
from broker.core.messages import ChatMessage


def message(message_id: str | None = None, **answered: str) -> ChatMessage:
    fields = "".join(f', "{name}": "{value}"' for name, value in answered.items())
    own = "" if message_id is None else f', "message_id": "{message_id}"'
    decoded = decode_input(f'{{"message_type": "REPLY"{own}{fields}}}'.encode(), 1_000_000)
    assert isinstance(decoded, ChatMessage)
    return decoded


def count(counter: HopCounter, chat: ChatMessage) -> int:
    hop = counter.hop(chat)
    counter.remember(hop)
    return hop.number


def test_a_row_of_answers_is_counted() -> None:
    counter = HopCounter()

    assert count(counter, message("m1")) == 1
    assert count(counter, message("m2", in_reply_to_message_id="m1")) == 2
    assert count(counter, message("m3", in_reply_to="m2")) == 3
    assert count(counter, message("other")) == 1
    assert count(counter, message("m4", in_reply_to_message_id="m3", in_reply_to="m1")) == 4


def test_a_redelivered_message_counts_as_before() -> None:
    counter = HopCounter()
    count(counter, message("m1"))

    counts = [count(counter, message("m2", in_reply_to="m1")) for _ in range(3)]

    assert counts == [2, 2, 2]


def test_an_answer_to_something_unknown_begins_a_row() -> None:
    assert count(HopCounter(), message("m2", in_reply_to="m1")) == 1


def test_a_message_that_answers_itself_does_not_grow() -> None:
    counter = HopCounter()

    assert [count(counter, message("m", in_reply_to="m")) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("message_id", [None, "", "x" * 256])
def test_a_message_without_a_usable_id_is_not_remembered(message_id: str | None) -> None:
    counter = HopCounter()
    count(counter, message(message_id))

    assert count(counter, message("m2", in_reply_to=message_id or "")) == 1


def test_only_the_latest_messages_are_remembered() -> None:
    with mock.patch.object(hops_module, "_REMEMBERED", 2):
        counter = HopCounter()
        for number in range(5):
            count(counter, message(f"m{number}"))

        counts = [count(counter, message(in_reply_to=f"m{number}")) for number in range(5)]

    assert counts == [1, 1, 2, 2, 2]
