"""Who a message says it is from, even if it is otherwise of no use."""

from broker.core.agent_ids import MAX_AGENT_ID_LENGTH
from broker.core.codec.fields import RejectedError, checked_fields, string_field

_MAX_BYTES = 65_536
"""To parse as many takes a tenth of a millisecond: what is larger is not looked into."""


def sender_of(body: bytes) -> str | None:
    """Return the `sender_id`, or the `agent_id` that a message is about, cut off if it is long.

    None if the body is large or no JSON object, or says neither. Never raises.
    """
    try:
        fields = checked_fields(body, _MAX_BYTES)
    except RejectedError:
        return None
    sender = string_field(fields, "sender_id") or string_field(fields, "agent_id")
    return sender[:MAX_AGENT_ID_LENGTH] if sender else None
