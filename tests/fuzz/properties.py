"""AMQP properties of a delivery: what is read of them can be published again."""

from pamqp import frame
from pamqp.header import ContentHeader

from broker.amqp import Delivery, Publishing, dead_letter
from broker.amqp.admin.all_properties import decode_all_properties
from broker.amqp.wire.marshal import header_frame_size, marshal_publishing
from broker.amqp.wire.properties import FORWARDED_HEADERS, Properties, decode_properties
from broker.amqp.wire.raw_properties import split_properties

_FRAME_MAX = 1 << 17


def check(data: bytes) -> None:
    properties = decode_properties(data)
    assert properties == decode_properties(data)
    _check_dead_letter(data)
    assert decode_all_properties(data).error == properties.error
    if properties.error is not None:
        assert properties == Properties(error=properties.error, raw=data)
        return
    assert properties.headers.keys() <= set(FORWARDED_HEADERS)
    _check_published(properties)


def _check_dead_letter(data: bytes) -> None:
    letter = dead_letter(
        Delivery("broker_input_queue", 1, b"{}", raw_properties=data),
        queue="broker_dead_letter_queue",
        reason="invalid_json",
        error="why",
        broker_id="broker_0001",
    )
    frames = b"".join(marshal_publishing(letter, "id", channel=1, frame_max=_FRAME_MAX))
    method = 8 + int.from_bytes(frames[3:7])
    header = 8 + int.from_bytes(frames[method + 3 : method + 7])
    assert header <= header_frame_size(letter)
    kept = split_properties(frames[method + 19 : method + header - 1])
    assert not kept.keys() & {"user_id", "expiration"}


def _check_published(properties: Properties) -> None:
    frames = b"".join(
        marshal_publishing(
            Publishing(
                "broker_output_queue",
                b"{}",
                "broker_0001",
                properties.headers,
                properties.correlation_id,
                priority=properties.priority,
                expiration=properties.expiration,
            ),
            "id",
            channel=1,
            frame_max=_FRAME_MAX,
        )
    )
    method_size, _, _ = frame.unmarshal(frames)
    header_size, _, header = frame.unmarshal(frames[method_size:])
    assert header_size <= _FRAME_MAX
    assert isinstance(header, ContentHeader)
    assert (header.properties.headers or {}) == properties.headers
    assert (header.properties.correlation_id or "") == (properties.correlation_id or "")
    assert header.properties.priority == properties.priority
    assert header.properties.expiration == properties.expiration
