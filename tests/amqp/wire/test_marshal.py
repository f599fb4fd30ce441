"""Frames made of constant parts are what pamqp would have made."""

from datetime import UTC, datetime, timedelta

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader

from broker.amqp import Publishing
from broker.amqp.wire.marshal import marshal_ack, marshal_publishing
from tests.lab import raw_content

FRAME_MAX = 4_096
ROOM = FRAME_MAX - 8


def unmarshalled(data: bytes) -> list[tuple[int, FrameTypes]]:
    frames = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        assert size <= FRAME_MAX
        frames.append((channel, frame))
        data = data[size:]
    return frames


texts = st.text(max_size=60)
publishings = st.builds(
    Publishing,
    queue=texts,
    body=st.binary(max_size=50),
    app_id=texts,
    # pamqp cuts names behind 128 bytes; the broker's own are shorter.
    headers=st.dictionaries(st.text(max_size=32), st.text(max_size=300), max_size=4),
    correlation_id=st.none() | texts,
    exchange=st.sampled_from(["", "fanout"]),
    priority=st.none() | st.integers(0, 255),
    expiration=st.none() | st.integers(0, 315_360_000_000).map(str),
)


@given(publishings, st.integers(1, 65_535))
def test_a_publishing_is_what_pamqp_reads(publishing: Publishing, channel: int) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    frames = unmarshalled(
        b"".join(marshal_publishing(publishing, "message-1", channel=channel, frame_max=FRAME_MAX))
    )

    assert {number for number, _ in frames} == {channel}
    method, header, *bodies = (frame for _, frame in frames)
    assert isinstance(method, Basic.Publish)
    assert dict(method) == dict(
        Basic.Publish(
            exchange=publishing.exchange,
            routing_key=publishing.queue,
            mandatory=not publishing.exchange,
        )
    )
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(publishing.body)
    its = header.properties
    assert its.timestamp is not None
    assert before <= its.timestamp <= datetime.now(UTC)
    assert dict(its) == {
        **dict(Basic.Properties()),
        "content_type": "application/json",
        "delivery_mode": 2,
        "headers": publishing.headers or None,
        "correlation_id": publishing.correlation_id,
        "priority": publishing.priority,
        "expiration": publishing.expiration,
        "message_id": "message-1",
        "timestamp": its.timestamp,
        "app_id": publishing.app_id,
    }
    pieces = [frame.value for frame in bodies if isinstance(frame, ContentBody)]
    assert pieces == [publishing.body] * bool(publishing.body)


def test_what_is_moved_stays_as_it_is_and_must_find_a_queue_behind_the_exchange() -> None:
    kept = raw_content.header_table(b"\xff", b"V")
    moved = Publishing("", b"body", "me", exchange="fanout", kept=kept, is_moved=True)
    data = b"".join(marshal_publishing(moved, "message-1", channel=1, frame_max=FRAME_MAX))
    size, _, method = pamqp.frame.unmarshal(data)
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.mandatory) == ("fanout", True)
    assert data[size + 7 + 12 :].startswith(kept + b"\xce")


@pytest.mark.parametrize("size", [0, 1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, 2 * ROOM + 1, 50_000])
def test_a_body_is_split_where_a_frame_ends(size: int) -> None:
    body = bytes(range(256)) * 200
    body = body[:size]
    _, (_, header), *bodies = unmarshalled(
        b"".join(
            marshal_publishing(Publishing("q", body, "me"), "m", channel=1, frame_max=FRAME_MAX)
        )
    )
    pieces = [frame.value for _, frame in bodies if isinstance(frame, ContentBody)]
    assert isinstance(header, ContentHeader)
    assert header.body_size == size
    assert b"".join(pieces) == body
    assert [len(piece) for piece in pieces[:-1]] == [ROOM] * (len(pieces) - 1)
    assert len(pieces) == -(-size // ROOM)


@given(st.integers(1, 2**63 - 1), st.integers(1, 65_535))
def test_an_acknowledgement_is_cumulative(tag: int, channel: int) -> None:
    ((number, ack),) = unmarshalled(marshal_ack(tag, channel=channel))
    assert isinstance(ack, Basic.Ack)
    assert (number, ack.delivery_tag, ack.multiple) == (channel, tag, True)
