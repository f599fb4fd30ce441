"""The benchmark notices when a contender is fast because it is wrong."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.bench.chat import chat_message, chat_messages, problems
from tests.bench.names import AGENTS

COUNT = 2_000


def routed(count: int = COUNT) -> list[dict[str, Any]]:
    messages = [json.loads(body) for body in chat_messages(count, 300)]
    for number, message in enumerate(messages):
        message["receiver_id"] = AGENTS[(number + 1) % len(AGENTS)]
    return messages


def judged(messages: list[dict[str, Any]], *, in_order: bool = True) -> list[str]:
    bodies = [json.dumps(message).encode() for message in messages]
    return problems(bodies, COUNT, in_order=in_order, found={})


@pytest.mark.parametrize("size", [300, 4_096, 65_536])
def test_messages_have_exactly_the_size(size: int) -> None:
    body = chat_message(7, size, text="123")
    assert len(body) == size
    assert json.loads(body)["text_payload"].startswith("123xx")


def test_nothing_is_wrong_with_what_is_right() -> None:
    assert judged(routed()) == []


def swap(messages: list[dict[str, Any]]) -> None:
    messages[10], messages[11] = messages[11], messages[10]


WRONG: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "1 lost": lambda messages: messages.pop(),
    "1 doubled": lambda messages: messages.append(messages[-1]),
    "1 unexpected": lambda messages: messages.append({**messages[0], "message_id": "m-x"}),
    "1 routed to their sender": lambda messages: messages[1].update(receiver_id=AGENTS[1]),
    "1 routed to nobody online": lambda messages: messages[1].update(receiver_id="nobody"),
    "1 changed": lambda messages: messages[1].update(text_payload="hello"),
    "out of order": swap,
}


@pytest.mark.parametrize(("complaint", "spoil"), WRONG.items(), ids=WRONG)
def test_what_is_wrong_is_noticed(
    complaint: str, spoil: Callable[[list[dict[str, Any]]], object]
) -> None:
    messages = routed()
    spoil(messages)
    assert complaint in judged(messages)


def test_an_agent_that_gets_nothing_is_noticed() -> None:
    messages = routed()
    for message in messages:
        if message["receiver_id"] == AGENTS[5]:
            message["receiver_id"] = AGENTS[7] if message["sender_id"] != AGENTS[7] else AGENTS[8]
    assert judged(messages) == ["1 agents left out"]


def test_order_counts_for_those_only_who_promise_it() -> None:
    messages = routed()
    swap(messages)
    assert judged(messages, in_order=False) == []
