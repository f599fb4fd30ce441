from broker.amqp import Delivery, Publishing, Settlement
from broker.amqp.dead_letter import dead_letter
from broker.amqp.dead_letter_note import note_of
from broker.amqp.wire.properties import decode_properties
from broker.amqp.wire.raw_properties import join_properties, short_string


def test_a_note_says_who_sent_it_what_is_wrong_and_how_to_find_it() -> None:
    delivery = Delivery("input", 1, b'{"sender_id": "agent-1", "text_payload": "secret"}')
    letter = dead_letter(delivery, queue="dead", reason="r", error="wrong " * 100, broker_id="b")
    note = note_of(Settlement(delivery, letter, "r"), "input", "r")
    assert (note.reason, note.queue, note.sender) == ("r", "input", "agent-1")
    assert note.error.startswith("wrong wrong")
    assert len(note.error) <= 255
    assert letter.kept is not None
    assert note.message_id == decode_properties(letter.kept).message_id is not None
    assert "secret" not in str(note)


def test_the_message_id_of_its_sender_stays() -> None:
    raw = join_properties({"message_id": short_string("m-1")})
    delivery = Delivery("input", 1, b"no JSON", raw_properties=raw)
    letter = dead_letter(delivery, queue="dead", reason="r", error="e", broker_id="b")
    note = note_of(Settlement(delivery, letter, "r"), "input", "r")
    assert (note.message_id, note.sender) == ("m-1", None)


def test_of_a_letter_without_headers_and_properties_there_is_less_to_say() -> None:
    delivery = Delivery("input", 1, b"")
    note = note_of(Settlement(delivery, Publishing("dead", b"", "b"), "r"), "input", "r")
    assert (note.error, note.message_id) == ("", None)
