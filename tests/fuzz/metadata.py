"""Bodies from the metadata queue."""

from broker.core.agent_ids import MAX_AGENT_ID_LENGTH
from broker.core.codec import decode_metadata, encode_register_response
from broker.core.messages import UNKNOWN_AGENT_NAME, ClientDisconnected, RegisterAgent, Rejected
from tests.fuzz.bodies import MAX_BYTES, MAX_NAME_LENGTH, check_rejection, parsed, shown, text_field
from tests.fuzz.json_oracle import Json, parse


def check(body: bytes) -> None:
    message = decode_metadata(body, MAX_BYTES)
    match message:
        case Rejected():
            check_rejection(body, message)
        case ClientDisconnected():
            fields = parsed(body)
            assert fields["message_type"] == "CLIENT_DISCONNECTED"
            _check_agent_id(message.agent_id, fields)
        case RegisterAgent():
            fields = parsed(body)
            assert fields["message_type"] == "REGISTER_AGENT"
            _check_agent_id(message.agent_id, fields)
            _check_registration(message, fields)


def _check_agent_id(agent_id: str, fields: dict[str, Json]) -> None:
    assert agent_id == fields["agent_id"]
    assert 0 < len(agent_id) <= MAX_AGENT_ID_LENGTH
    assert len(agent_id.splitlines()) == 1


def _check_registration(message: RegisterAgent, fields: dict[str, Json]) -> None:
    name = text_field(fields, "agent_name") or UNKNOWN_AGENT_NAME
    assert message.agent_name == shown(name[:MAX_NAME_LENGTH])
    assert isinstance(fields.get("capabilities") or [], list)
    response = parse(encode_register_response(message).decode())
    assert isinstance(response, dict)
    assert response["agent_id"] == message.agent_id
    assert response.get("_client_id") == fields.get("_client_id")
