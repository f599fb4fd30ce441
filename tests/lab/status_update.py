"""Decode status updates outside of an event loop."""

from broker.core.messages import Fields, Rejected, StatusUpdate
from broker.core.status_update import decoding_status_update


def decode_status_update(fields: Fields) -> StatusUpdate | Rejected:
    """Decode an AGENT_STATUS_UPDATE without pauses."""
    decoding = decoding_status_update(fields)
    while True:
        try:
            next(decoding)
        except StopIteration as decoded:
            update: StatusUpdate | Rejected = decoded.value
            return update
