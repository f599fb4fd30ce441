"""Bodies from the advertisement queue."""

from broker.core.codec import decode_advertisement
from broker.core.messages import Rejected, ServerAvailable
from tests.fuzz.bodies import MAX_BYTES, check_rejection, parsed, shown, text_field


def check(body: bytes) -> None:
    message = decode_advertisement(body, MAX_BYTES)
    match message:
        case Rejected():
            check_rejection(body, message)
        case ServerAvailable():
            fields = parsed(body)
            assert fields["message_type"] == "SERVER_AVAILABLE"
            for name, found in (
                ("server_id", message.server_id),
                ("websocket_url", message.websocket_url),
            ):
                sent = text_field(fields, name)
                assert found == (sent and shown(sent))
