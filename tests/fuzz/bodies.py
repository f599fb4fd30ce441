"""What is promised about any body, whatever queue it comes from."""

import re

from broker.amqp import Delivery
from broker.amqp.dead_letter import dead_letter
from broker.amqp.wire.marshal import marshal_publishing
from broker.core.codec import MAX_DEPTH
from broker.core.messages import Rejected, RejectReason
from tests.fuzz.json_oracle import Json, depth, parse

MAX_BYTES = 2048
"""Less than what the fuzzer makes up at most, so that it meets the limit."""

MAX_NAME_LENGTH = 255
"""What is left of an agent's name, in characters."""


def parsed(body: bytes) -> dict[str, Json]:
    value = parse(body.decode())
    assert isinstance(value, dict)
    assert depth(value) <= MAX_DEPTH
    assert len(body) <= MAX_BYTES
    return value


def text_field(fields: dict[str, Json], name: str) -> str | None:
    """Return a field that must be text, null or missing."""
    value = fields.get(name)
    assert value is None or isinstance(value, str)
    return value


def shown(text: str) -> str:
    """Return a text as people see it: what has no UTF-8, or no look, is replaced."""
    return re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def check_rejection(body: bytes, rejected: Rejected) -> None:
    """Check that a body was refused for a reason that it has, and that it can be parked."""
    _check_reason(body, rejected.reason)
    assert rejected.error
    assert rejected.error.isprintable()
    parked = dead_letter(
        Delivery("broker_input_queue", 1, body),
        queue="broker_dead_letter_queue",
        reason=rejected.reason.value,
        error=rejected.error,
        broker_id="broker_0001",
    )
    assert parked.body == body
    assert body in b"".join(marshal_publishing(parked, "id", channel=1, frame_max=1 << 17))


def _check_reason(body: bytes, reason: RejectReason) -> None:
    if reason is RejectReason.TOO_LARGE:
        assert len(body) > MAX_BYTES
        return
    try:
        value = parse(body.decode())
    except UnicodeDecodeError:
        assert reason is RejectReason.INVALID_UTF8
    except ValueError:
        # How deep something is that ends in nonsense is nobody's business.
        assert reason in {RejectReason.INVALID_JSON, RejectReason.TOO_DEEP}
    except RecursionError:
        assert reason in {RejectReason.INVALID_JSON, RejectReason.TOO_DEEP}
    else:
        _check_reason_of_json(value, reason)


def _check_reason_of_json(value: Json, reason: RejectReason) -> None:
    if depth(value) > MAX_DEPTH:
        assert reason is RejectReason.TOO_DEEP
    elif not isinstance(value, dict):
        assert reason is RejectReason.NOT_AN_OBJECT
    elif value.get("message_type") is None:
        assert reason is RejectReason.MISSING_MESSAGE_TYPE
    else:
        assert reason in {RejectReason.INVALID_FIELD, RejectReason.UNSUPPORTED_MESSAGE_TYPE}
