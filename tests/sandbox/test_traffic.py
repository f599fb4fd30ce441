import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from broker.core.codec import decode_input
from broker.core.messages import Rejected, RejectReason
from broker.sandbox.accounting import Ledger
from broker.sandbox.traffic import Traffic


def traffic(
    messages: int | None = None, malformed: float = 0, seed: int = 1
) -> tuple[Traffic, Ledger]:
    ledger = Ledger()
    return Traffic(ledger, Random(seed), messages=messages, malformed=malformed), ledger


def test_a_text_and_its_reply() -> None:
    writing, ledger = traffic()

    text = json.loads(writing.text("alice") or "")
    reply = json.loads(writing.reply("bob", text["message_id"]) or "")

    assert text["message_type"] == "TEXT"
    assert text["sender_id"] == "alice"
    assert text["text_payload"]
    assert text["send_timestamp"]
    assert "in_reply_to_message_id" not in text
    assert reply["message_type"] == "REPLY"
    assert reply["in_reply_to_message_id"] == text["message_id"]
    assert ledger.missing() == [text["message_id"], reply["message_id"]]
    assert ledger.sent_by == {"alice": 1, "bob": 1}


def test_the_budget_is_shared_and_exact() -> None:
    writing, ledger = traffic(messages=3)

    written = [writing.text("alice"), writing.reply("bob", "m"), writing.text("carol")]

    assert None not in written
    assert writing.is_over
    assert writing.text("alice") is writing.reply("bob", "m") is None
    assert ledger.sent == 3


def test_without_a_budget_it_goes_on_until_it_is_ended() -> None:
    writing, _ = traffic()
    for _ in range(100):
        assert writing.text("alice")
    writing.end()

    assert writing.is_over
    assert writing.text("alice") is None


@given(messages=st.integers(1, 300), malformed=st.floats(0, 100))
def test_any_share_is_exact_but_for_rounding(messages: int, malformed: float) -> None:
    writing, ledger = traffic(messages=messages, malformed=malformed)
    decoded = [decode_input(writing.text("alice") or b"", 1_000_000) for _ in range(messages)]
    rejected = [message for message in decoded if isinstance(message, Rejected)]
    assert {message.reason for message in rejected} <= {RejectReason.INVALID_JSON}
    assert len(rejected) == ledger.malformed == int(messages * malformed / 100)
    assert ledger.sent == messages


def test_a_seed_repeats_the_texts() -> None:
    def texts(seed: int) -> list[str]:
        writing, _ = traffic(seed=seed)
        return [json.loads(writing.text("alice") or "")["text_payload"] for _ in range(20)]

    assert texts(1) == texts(1) != texts(2)
