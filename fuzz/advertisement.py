"""Bodies from the advertisement queue."""

from broker.codec import decode_advertisement
from broker.lone_surrogates import mask_lone_surrogates
from broker.messages import Rejected, ServerAvailable
from fuzz.bodies import MAX_BYTES, check_rejection, parsed, text_field


def check(body: bytes) -> None:
    """Decode a body from the advertisement queue."""
    message = decode_advertisement(body, MAX_BYTES)
    body = mask_lone_surrogates(body)
    match message:
        case Rejected():
            check_rejection(body, message)
        case ServerAvailable():
            fields = parsed(body)
            assert fields["message_type"] == "SERVER_AVAILABLE"
            assert message.server_id == text_field(fields, "server_id")
            assert message.websocket_url == text_field(fields, "websocket_url")
