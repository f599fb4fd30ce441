"""AMQP properties of a delivery: what is read of them can be published again."""

from pamqp import frame
from pamqp.header import ContentHeader

from broker.amqp import Publishing
from broker.amqp.marshal import marshal_publishing
from broker.amqp.properties import FORWARDED_HEADERS, Properties, decode_properties

_FRAME_MAX = 1 << 17


def check(data: bytes) -> None:
    """Decode the flags and properties of a content header."""
    properties = decode_properties(data)
    assert properties == decode_properties(data)
    if properties.error is not None:
        assert properties == Properties(error=properties.error)
        return
    assert properties.headers.keys() <= set(FORWARDED_HEADERS)
    _check_published(properties)


def _check_published(properties: Properties) -> None:
    frames = marshal_publishing(
        Publishing(
            "broker_output_queue",
            b"{}",
            "broker_0001",
            properties.headers,
            properties.correlation_id,
        ),
        "id",
        channel=1,
        frame_max=_FRAME_MAX,
    )
    method_size, _, _ = frame.unmarshal(frames)
    header_size, _, header = frame.unmarshal(frames[method_size:])
    assert header_size <= _FRAME_MAX
    assert isinstance(header, ContentHeader)
    assert (header.properties.headers or {}) == properties.headers
    assert (header.properties.correlation_id or "") == (properties.correlation_id or "")
