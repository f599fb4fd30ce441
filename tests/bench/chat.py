"""The messages that go in, and the judgement of what comes out."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from tests.bench.names import AGENTS

_ONLINE = frozenset(AGENTS)
_FEW = 1_000
"""With more messages than that, every agent gets some."""


class Routed(msgspec.Struct):
    message_type: str
    message_id: str
    sender_id: str
    receiver_id: str
    text_payload: str


decode_routed = msgspec.json.Decoder(Routed).decode


def chat_message(number: int, size: int, text: str = "") -> bytes:
    """Return a TEXT message of exactly so many bytes.

    Args:
        text: What the payload begins with.
    """
    start = (
        f'{{"message_type":"TEXT","message_id":"{_message_id(number)}",'
        f'"sender_id":"{AGENTS[number % len(AGENTS)]}",'
        '"send_timestamp":"2026-01-01T00:00:00.000000Z","_client_id":"client-1",'
        f'"text_payload":"{text}'
    ).encode()
    return start.ljust(size - 2, b"x") + b'"}'


def chat_messages(count: int, size: int) -> Iterator[bytes]:
    return (chat_message(number, size) for number in range(count))


def problems(
    bodies: Sequence[bytes], count: int, *, in_order: bool, found: Mapping[str, int]
) -> list[str]:
    """Say what is wrong with what came out, one line each."""
    routed = [decode_routed(body) for body in bodies]
    ids = [message.message_id for message in routed]
    expected = [_message_id(number) for number in range(count)]
    receivers = {message.receiver_id for message in routed}
    counts = {
        "lost": len(set(expected) - set(ids)),
        "doubled": len(ids) - len(set(ids)),
        "unexpected": len(set(ids) - set(expected)),
        "routed to their sender": sum(m.sender_id == m.receiver_id for m in routed),
        "routed to nobody online": sum(m.receiver_id not in _ONLINE for m in routed),
        "changed": sum(m.message_type != "TEXT" or m.text_payload.strip("x") != "" for m in routed),
        "agents left out": len(_ONLINE - receivers) if count > _FEW else 0,
    }
    complaints = [f"{number} {what}" for what, number in {**counts, **found}.items() if number]
    if in_order and ids != expected:
        complaints.append("out of order")
    return complaints


def _message_id(number: int) -> str:
    return f"m-{number:09}"
