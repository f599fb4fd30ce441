import pytest

from broker.core.codec import sender_of


@pytest.mark.parametrize(
    ("body", "sender"),
    [
        (b'{"sender_id": "a", "text_payload": 5}', "a"),
        (b'{"agent_id": "b"}', "b"),
        (b'{"sender_id": "", "agent_id": "b"}', "b"),
        (b'{"sender_id": 5, "agent_id": "b"}', "b"),
        (b'{"sender_id": null}', None),
        (b'{"sender_id": "%s"}' % (b"x" * 300), "x" * 255),
        (b'{"sender_id": "a", "rest": "%s"}' % (b"x" * 65_536), None),
        (b'{"sender_id": "a"', None),
        (b'["sender_id"]', None),
        (b"[" * 1_000, None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_the_sender_is_found_where_it_can_be_read(body: bytes, sender: str | None) -> None:
    assert sender_of(body) == sender
