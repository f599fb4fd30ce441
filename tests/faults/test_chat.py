import msgspec
from hypothesis import given
from hypothesis import strategies as st

from broker.core import codec
from broker.core.messages import ChatMessage
from tests.faults import chat

NUMBERS = range(200)
decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def test_the_broker_makes_of_a_message_what_is_expected() -> None:
    for number in NUMBERS:
        message = codec.decode_input(chat.body(number), max_bytes=10_000)
        assert isinstance(message, ChatMessage)
        routed = decode_fields(codec.encode_routed(message, "agent-x"))
        fields = {name: bytes(value) for name, value in routed.items()}
        assert fields.pop("receiver_id") == b'"agent-x"'
        assert fields == chat.routed_fields(number)


def test_each_agent_sends_messages_of_every_variant() -> None:
    def shape(number: int) -> tuple[frozenset[str], bool]:
        fields = decode_fields(chat.body(number))
        return frozenset(fields), not bytes(fields["text_payload"]).isascii()

    seen = {(chat.sender(number), shape(number)) for number in NUMBERS}
    shapes = {shape for _, shape in seen}
    assert len(shapes) == 6
    assert len(seen) == len(shapes) * len(chat.AGENTS)


@given(st.integers(min_value=0))
def test_an_id_tells_the_number(number: int) -> None:
    assert chat.number_of(chat.message_id(number)) == number


@given(st.text() | st.sampled_from(["c-", "c-01", "c-1 ", "c-²", "C-1", "c--1"]))
def test_other_ids_tell_none(name: str) -> None:
    number = chat.number_of(name)
    assert number is None or chat.message_id(number) == name
