"""What the central server says in WebSocket frames."""

from contextlib import suppress

from broker.core.codec import decode_frame, string_field
from broker.core.flags import understood
from broker.core.lone_surrogates import mask_lone_surrogates
from broker.core.messages import UNKNOWN_AGENT_NAME, AgentStatus, Fields, Rejected, StatusUpdate
from tests.fuzz.bodies import MAX_NAME_LENGTH
from tests.fuzz.json_oracle import Json, parse
from tests.lab.status_update import decode_status_update


def check(data: bytes) -> None:
    """Decode a frame, and take it for a status update whatever its type says."""
    frame = decode_frame(data)
    try:
        text = mask_lone_surrogates(data).decode()
    except UnicodeDecodeError:
        assert isinstance(frame, Rejected)
        return
    if isinstance(frame, Rejected):
        _check_refused(text, frame)
        return
    message_type, raw = frame
    fields: Json = None
    with suppress(RecursionError):  # the broker reads deeper than the oracle
        fields = parse(text)
        assert isinstance(fields, dict)
        assert message_type == fields["message_type"]
        _check_strings(raw, fields)
    update = decode_status_update(raw)
    if isinstance(update, StatusUpdate) and isinstance(fields, dict):
        _check_update(update, fields)


def _check_refused(text: str, rejected: Rejected) -> None:
    assert rejected.error
    assert rejected.error.isprintable()
    with suppress(ValueError, RecursionError):
        fields = parse(text)
        assert not (isinstance(fields, dict) and isinstance(fields.get("message_type"), str))


def _check_strings(raw: Fields, fields: dict[str, Json]) -> None:
    for name, value in fields.items():
        assert string_field(raw, name) == (value if isinstance(value, str) else None)


def _check_update(update: StatusUpdate, fields: dict[str, Json]) -> None:
    entries = fields["agents"]
    assert isinstance(entries, list)
    assert update.is_full == _flag(fields.get("is_full_update"))
    assert len(update.agents) <= len(entries) - update.skipped
    for agent_id, status in update.agents.items():
        assert agent_id == status.agent_id
        assert any(_says(entry, status) for entry in entries)


def _says(entry: Json, status: AgentStatus) -> bool:
    if not isinstance(entry, dict):
        return False
    given = entry.get("agent_name")
    name = given if given and isinstance(given, str) else UNKNOWN_AGENT_NAME
    return (
        entry.get("agent_id") == status.agent_id
        and status.agent_name == name[:MAX_NAME_LENGTH].replace("\0", "\N{REPLACEMENT CHARACTER}")
        and _flag(entry.get("is_online")) is status.is_online
    )


def _flag(value: Json) -> bool | None:
    match value:
        case None:
            return False
        case tuple():
            return understood(float(value[0]))
        case bool() | str():
            return understood(value)
        case _:
            return None
