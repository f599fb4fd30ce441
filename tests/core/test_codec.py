import json
import re
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.agent_ids import MAX_AGENT_ID_LENGTH
from broker.core.capabilities import MAX_CAPABILITIES, MAX_CAPABILITY_LENGTH
from broker.core.codec import (
    MAX_DEPTH,
    decode_advertisement,
    decode_frame,
    decode_input,
    decode_metadata,
    decode_registry_event,
    encode_pong,
    encode_register_broker,
    encode_register_response,
    encode_registry_event,
    encode_request_agent_status,
    encode_routed,
    encode_routing_failure,
    string_field,
)
from broker.core.lone_surrogates import mask_lone_surrogates
from broker.core.messages import (
    AgentError,
    Answer,
    AnswersSeen,
    ChatMessage,
    ClientDisconnected,
    RegisterAgent,
    RegistryEvent,
    Rejected,
    RejectReason,
    ServerAvailable,
    StatusUpdate,
)
from broker.core.routing.failure import FailureReason
from broker.core.versions import Version
from tests.core.rejections import MARKER, assert_rejected
from tests.lab.status_update import decode_status_update

MAX_BYTES = 1_048_576

type Decode = Callable[[bytes, int], object]
DECODERS: list[Decode] = [
    decode_input,
    decode_metadata,
    decode_advertisement,
    decode_registry_event,
]
CHAT_STRINGS = (
    "sender_id",
    "message_id",
    "text_payload",
    "send_timestamp",
    "timestamp",
    "receiver_id",
    "in_reply_to_message_id",
    "in_reply_to",
)

# Surrogates have no UTF-8, and so no JSON.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SHOWN_TEXTS = TEXTS.map(lambda text: text.replace("\0", ""))
"""What is shown to people has replacement characters in their place."""
IDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)

_decode_values = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def values(body: bytes) -> dict[str, bytes]:
    """Take a JSON object apart, down to the exact bytes of its values."""
    return {name: bytes(raw) for name, raw in _decode_values(body).items()}


def chat(body: str | bytes) -> ChatMessage:
    message = decode_input(body.encode() if isinstance(body, str) else body, MAX_BYTES)
    assert isinstance(message, ChatMessage)
    return message


def registration(fields: str) -> RegisterAgent:
    body = f'{{"message_type": "REGISTER_AGENT", "agent_id": "a", {fields}}}'
    message = decode_metadata(body.encode(), MAX_BYTES)
    assert isinstance(message, RegisterAgent)
    return message


# JSON as text, so that numbers, escapes and white space are what a peer wrote and not what a
# JSON library would have written.

SPACE = st.text(" \t\r\n", max_size=2)
NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,60})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
) | st.sampled_from(["-0", "1e999", "-1E+999", "1.0e-7", "0.10", "9" * 60, "9" * 5_000])
STRINGS = st.lists(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters='"\\')
    | st.sampled_from(
        [r"\"", r"\\", r"\/", r"\b", r"\n", r"\u0000", r"\u00e9", r"\uD83D\ude00", "[", "}", "\x7f"]
    ),
    max_size=8,
).map(lambda pieces: f'"{"".join(pieces)}"')


def arrays(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced = st.builds("{}{}{}".format, SPACE, items, SPACE)
    return st.builds(
        lambda space, inside: f"[{','.join(inside) or space}]", SPACE, st.lists(spaced, max_size=4)
    )


def objects(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.builds("{}{}{}:{}{}{}".format, SPACE, STRINGS, SPACE, SPACE, items, SPACE)
    return st.builds(
        lambda space, inside: f"{{{','.join(inside) or space}}}",
        SPACE,
        st.lists(members, max_size=4),
    )


JSON = st.recursive(
    NUMBERS | STRINGS | st.sampled_from(["true", "false", "null"]),
    lambda items: arrays(items) | objects(items),
    max_leaves=8,
)
MEANINGFUL = (
    "message_type",
    *CHAT_STRINGS,
    "routing_status",
    "_client_id",
    "_broadcast",
    "_target_agent_id",
    "agent_id",
    "agent_name",
    "capabilities",
    "agents",
    "is_full_update",
    "server_id",
    "websocket_url",
)
UNKNOWN_NAMES = st.text(max_size=8).filter(lambda name: name not in MEANINGFUL)


@st.composite
def objects_of(draw: st.DrawFn, fields: dict[str, str]) -> str:
    """Write an object with these values, members in any order and in any white space."""
    members = [
        f"{draw(SPACE)}{json.dumps(name, ensure_ascii=draw(st.booleans()))}{draw(SPACE)}"
        f":{draw(SPACE)}{value}{draw(SPACE)}"
        for name, value in draw(st.permutations(sorted(fields.items())))
    ]
    return f"{draw(SPACE)}{{{','.join(members)}}}{draw(SPACE)}"


# What passes through.


@given(data=st.data(), unknown=st.dictionaries(UNKNOWN_NAMES, JSON, max_size=5))
def test_unknown_fields_reach_the_receiver_byte_for_byte(
    data: st.DataObject, unknown: dict[str, str]
) -> None:
    body = data.draw(objects_of({**unknown, "message_type": '"TEXT"'}))

    routed = values(encode_routed(chat(body), "agent_2"))

    assert routed == {
        "message_type": b'"TEXT"',
        "receiver_id": b'"agent_2"',
        **{name: value.encode() for name, value in unknown.items()},
    }


@given(
    data=st.data(),
    message_type=st.sampled_from(["TEXT", "REPLY", "SYSTEM"]),
    fields=st.dictionaries(
        st.sampled_from([name for name in CHAT_STRINGS if name != "receiver_id"]),
        STRINGS | st.just("null"),
    ),
)
def test_known_strings_keep_their_escapes(
    data: st.DataObject, message_type: str, fields: dict[str, str]
) -> None:
    body = data.draw(objects_of({**fields, "message_type": f'"{message_type}"'}))

    message = chat(body)

    sent = json.loads(fields.get("sender_id", "null"))
    assert message.sender_id == ("unknown" if sent is None else sent)
    routed = values(encode_routed(message, "agent_2"))
    assert {name: routed[name] for name in fields} == {n: v.encode() for n, v in fields.items()}


def test_routing_changes_what_it_must_and_nothing_else() -> None:
    kept = (
        '"message_type": "REPLY", "message_id": "m1", "sender_id": "a", "text_payload": "hi",'
        ' "send_timestamp": "t1", "timestamp": "t2", "in_reply_to_message_id": "m0",'
        ' "in_reply_to": "m0", "_connection_type": "agent", "extra": {"a": [1.0e-7]}'
    )
    changed = (
        '"receiver_id": "before", "routing_status": "pending", "_client_id": "c",'
        ' "_broadcast": false, "_target_agent_id": null'
    )

    routed = values(encode_routed(chat(f"{{{kept}, {changed}}}"), 'agent "2"\n'))

    expected = rf'{{{kept}, "receiver_id": "agent \"2\"\n", "routing_status": "routed"}}'
    assert routed == values(expected.encode())


@pytest.mark.parametrize("status", ['"pending"', "null", "5", "{}"])
def test_a_routing_status_of_any_kind_becomes_routed(status: str) -> None:
    message = chat(f'{{"message_type": "TEXT", "routing_status": {status}}}')

    assert values(encode_routed(message, "a"))["routing_status"] == b'"routed"'


def test_a_routing_status_is_not_added() -> None:
    assert "routing_status" not in values(encode_routed(chat('{"message_type": "TEXT"}'), "a"))


def test_bookkeeping_goes_however_its_name_is_written() -> None:
    message = chat(r'{"message_type": "TEXT", "_client_id": 1, "_client\u005fid": 2}')

    assert values(encode_routed(message, "a")).keys() == {"message_type", "receiver_id"}


@pytest.mark.parametrize("earlier", ["5", "{}", "null", '"UNSUPPORTED"', '"\\u0041"'])
@pytest.mark.parametrize("name", ["message_type", "sender_id", "message_id", "x"])
def test_the_last_of_duplicate_keys_wins(name: str, earlier: str) -> None:
    last = "TEXT"
    body = f'{{"message_type": "TEXT", "{name}": {earlier}, "{name}": "{last}"}}'

    message = chat(body)

    assert values(encode_routed(message, "a"))[name] == b'"TEXT"'
    assert message.sender_id == (last if name == "sender_id" else "unknown")


@pytest.mark.parametrize("later", ["5", "null", "[]"])
def test_a_wrong_duplicate_wins_too_when_it_is_the_last(later: str) -> None:
    body = f'{{"message_type": "TEXT", "message_type": {later}}}'
    assert_rejected(decode_input(body.encode(), MAX_BYTES))


# Routing failures.


@pytest.mark.parametrize(
    "client_id", ['"c1"', "null", "9" * 60, '{ "a" : [ 1.0e-7 ] }', r'"\u0041"']
)
@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (FailureReason.NO_AGENT_ONLINE, "no agent is online."),
        (FailureReason.ONLY_SENDER_ONLINE, "its sender is the only agent online."),
        (FailureReason.RECEIVER_OFFLINE, "the agent that it is for cannot receive it now."),
        (
            FailureReason.NO_CAPABLE_AGENT,
            "no agent online has all capabilities that it requires.",
        ),
    ],
)
def test_a_routing_failure_says_all_the_server_needs(
    reason: FailureReason, text: str, client_id: str
) -> None:
    message = chat(
        r'{"message_type": "TEXT", "message_id": "\u006d1", "sender_id": "a", "text_payload": "hi",'
        rf' "_client_id": {client_id}, "_broadcast": true}}'
    )
    before = dict(message.fields)

    failure = encode_routing_failure(message, reason, "e1")

    assert values(failure) == {
        "message_type": b'"ERROR"',
        "message_id": b'"e1"',
        "sender_id": b'"BrokerService"',
        "receiver_id": b'"Server"',
        "text_payload": f'"The message could not be routed: {text}"'.encode(),
        "reason": f'"{reason}"'.encode(),
        "routing_status": b'"error"',
        "original_message_id": rb'"\u006d1"',
        "original_sender_id": b'"a"',
        "in_reply_to_message_id": rb'"\u006d1"',
        "_client_id": client_id.encode(),
    }
    assert message.fields == before


def test_a_failed_message_without_ids_is_answered_with_nulls() -> None:
    message = chat('{"message_type": "TEXT"}')
    failure = values(encode_routing_failure(message, FailureReason.NO_AGENT_ONLINE, "e1"))

    assert failure["original_message_id"] == failure["in_reply_to_message_id"] == b"null"
    assert failure["original_sender_id"] == b'"unknown"'
    assert "_client_id" not in failure


# The other messages.


@pytest.mark.parametrize(
    "body",
    [
        b'{"message_type": "ERROR"}',
        b'{"message_type": "ERROR", "sender_id": 5, "text_payload": {}, "receiver_id": []}',
    ],
)
def test_errors_from_agents_are_taken_as_they_are(body: bytes) -> None:
    assert decode_input(body, MAX_BYTES) == AgentError()


@pytest.mark.parametrize(
    ("fields", "agent"),
    [
        ('"agent_name": "Ada"', RegisterAgent("a", "Ada")),
        ('"x": 1', RegisterAgent("a", "Unknown Agent")),
        (
            '"agent_name": null, "capabilities": null',
            RegisterAgent("a", "Unknown Agent", capabilities=None),
        ),
        ('"agent_name": ""', RegisterAgent("a", "Unknown Agent")),
        pytest.param(
            f'"agent_name": "{"x" * 256}"', RegisterAgent("a", "x" * 255), id="a long name"
        ),
        ('"agent_name": "Ada", "capabilities": []', RegisterAgent("a", "Ada", capabilities=())),
        (
            '"agent_name": "Ada", "capabilities": ["tables", "sums", "tables"]',
            RegisterAgent("a", "Ada", capabilities=("sums", "tables")),
        ),
    ],
)
def test_agents_register(fields: str, agent: RegisterAgent) -> None:
    assert registration(fields) == agent


@pytest.mark.parametrize(
    "fields",
    [
        '"agent_name": "Ada"',
        '"agent_id": null',
        '"agent_id": ""',
        '"agent_id": 5',
        pytest.param(f'"agent_id": "{"a" * (MAX_AGENT_ID_LENGTH + 1)}"', id="256-characters"),
        pytest.param(f'"agent_id": "{MARKER * 2_000}"', id="10-kB"),
        f'"agent_id": "{MARKER}\\u0000"',
        f'"agent_id": "{MARKER}\\n"',
        f'"agent_id": "\x7f{MARKER}"',
        f'"agent_id": "{MARKER}\x85"',
        f'"agent_id": "{MARKER}\u2028"',
        f'"agent_id": "a", "agent_name": ["{MARKER}"]',
        f'"agent_id": "a", "capabilities": "{MARKER}"',
        f'"agent_id": "a", "capabilities": ["{MARKER}", 5]',
        f'"agent_id": "a", "capabilities": {{"{MARKER}": 5}}',
    ],
)
def test_unusable_registrations_are_refused(fields: str) -> None:
    result = decode_metadata(f'{{"message_type": "REGISTER_AGENT", {fields}}}'.encode(), MAX_BYTES)

    assert_rejected(result, RejectReason.INVALID_FIELD)


@pytest.mark.parametrize("agent_id", ["a" * MAX_AGENT_ID_LENGTH, "é" * MAX_AGENT_ID_LENGTH, " "])
def test_long_and_odd_agent_ids_are_fine(agent_id: str) -> None:
    body = json.dumps({"message_type": "CLIENT_DISCONNECTED", "agent_id": agent_id}).encode()

    assert decode_metadata(body, MAX_BYTES) == ClientDisconnected(agent_id)


def test_a_disconnection_must_name_an_agent() -> None:
    result = decode_metadata(b'{"message_type": "CLIENT_DISCONNECTED"}', MAX_BYTES)

    assert_rejected(result, RejectReason.INVALID_FIELD)


@pytest.mark.parametrize("client_id", ['"c"', "null", "1e999"])
def test_registration_is_answered(client_id: str) -> None:
    message = registration(f'"_client_id": {client_id}')

    assert values(encode_register_response(message)) == {
        "message_type": b'"REGISTER_AGENT_RESPONSE"',
        "status": b'"success"',
        "agent_id": b'"a"',
        "message": b'"Agent registered successfully"',
        "_client_id": client_id.encode(),
    }


def test_registration_without_a_client_is_answered_without_one() -> None:
    assert "_client_id" not in values(encode_register_response(RegisterAgent("a", "Ada")))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", ServerAvailable(None, None)),
        (', "server_id": null, "websocket_url": null', ServerAvailable(None, None)),
        (
            ', "server_id": "s", "websocket_url": "ws://s/ws", "timestamp": "now"',
            ServerAvailable("s", "ws://s/ws"),
        ),
    ],
)
def test_servers_advertise_themselves(fields: str, expected: ServerAvailable) -> None:
    body = f'{{"message_type": "SERVER_AVAILABLE"{fields}}}'.encode()

    assert decode_advertisement(body, MAX_BYTES) == expected


CAPABILITIES = st.sets(IDS, max_size=5).map(lambda some: tuple(sorted(some)))


@given(
    st.builds(
        RegistryEvent,
        st.one_of(
            st.builds(
                RegisterAgent, IDS, SHOWN_TEXTS.filter(bool), st.none(), st.none() | CAPABILITIES
            ),
            st.builds(
                AnswersSeen,
                st.lists(st.builds(Answer, IDS, TEXTS, st.floats(0, 1e6))),
            ),
            st.builds(ClientDisconnected, IDS),
            st.builds(ServerAvailable, st.none() | SHOWN_TEXTS, st.none() | SHOWN_TEXTS),
        ),
        st.builds(Version, st.integers(1, 2**53 - 1), IDS),
    )
)
def test_what_brokers_tell_each_other_arrives_as_it_was(event: RegistryEvent) -> None:
    assert decode_registry_event(encode_registry_event(event), MAX_BYTES) == event


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("agent_id", value) for value in ('""', "null")),
        *(("changed_at", value) for value in ("null", "0", "-1", "1.5", str(2**53), '"1"')),
        *(("origin", value) for value in ("null", '""', '"a\\u0000"', "7")),
    ],
)
def test_what_no_broker_tells_is_refused(name: str, value: str) -> None:
    fields = {"agent_id": '"a"', "changed_at": "1", "origin": '"x"'} | {name: value}
    members = "".join(f', "{name}": {value}' for name, value in fields.items())
    for message_type in ("AGENT_REGISTERED", "AGENT_DISCONNECTED"):
        body = f'{{"message_type": "{message_type}"{members}}}'.encode()
        result = decode_registry_event(body, MAX_BYTES)
        assert_rejected(result, RejectReason.INVALID_FIELD, f"`{name}`")


@pytest.mark.parametrize(
    "answers",
    ['"a"', '[["a", "m1"]]', '[["a", "m1", "1"]]', '[["a", "m1", 1, 2]]', "[[1, 2, 3]]", "{}"],
)
def test_answers_that_no_broker_tells_are_refused(answers: str) -> None:
    body = (
        f'{{"message_type": "ANSWERS_SEEN", "answers": {answers}, "changed_at": 1, "origin": "x"}}'
    )
    result = decode_registry_event(body.encode(), MAX_BYTES)
    assert_rejected(result, RejectReason.INVALID_FIELD, "`answers`")


def test_answers_to_nothing_are_none() -> None:
    for answers in ("", '"answers": null,', '"answers": [],'):
        body = f'{{"message_type": "ANSWERS_SEEN", {answers} "changed_at": 1, "origin": "x"}}'
        event = decode_registry_event(body.encode(), MAX_BYTES)
        assert isinstance(event, RegistryEvent)
        assert isinstance(event.change, AnswersSeen)
        assert not event.change.answers


# What a message requires, and what agents can do.


def requiring(capabilities: str) -> ChatMessage | AgentError | Rejected:
    body = f'{{"message_type": "TEXT", "required_capabilities": {capabilities}}}'
    return decode_input(body.encode(), MAX_BYTES)


@given(names=st.lists(IDS, max_size=64), spaced=st.booleans())
def test_required_capabilities_are_a_set_and_pass_through(names: list[str], spaced: bool) -> None:
    written = json.dumps(names, separators=(" , ", ":") if spaced else None)
    message = requiring(written)
    assert isinstance(message, ChatMessage)
    assert message.required_capabilities == tuple(sorted(set(names)))
    assert values(encode_routed(message, "a"))["required_capabilities"] == written.encode()


@pytest.mark.parametrize("nothing", ["null", "[]"])
def test_nothing_may_be_required(nothing: str) -> None:
    message = requiring(nothing)
    assert isinstance(message, ChatMessage)
    assert message.required_capabilities == ()
    assert chat('{"message_type": "TEXT"}').required_capabilities == ()


UNUSABLE_CAPABILITIES = [
    *(f'"{MARKER}"', "5", "true", f'{{"{MARKER}": 1}}', f'["{MARKER}", 5]', "[null]", "[[]]"),
    *('[""]', f'["{MARKER}\\n"]', f'["{MARKER}\\u009b"]'),
    pytest.param(json.dumps([MARKER * 100]), id="a-long-name"),
    pytest.param(json.dumps([f"{MARKER}{number}" for number in range(65)]), id="many-names"),
]


@pytest.mark.parametrize("capabilities", UNUSABLE_CAPABILITIES)
def test_unusable_required_capabilities_are_refused(capabilities: str) -> None:
    result = requiring(capabilities)
    assert_rejected(result, RejectReason.INVALID_FIELD, "`required_capabilities`")


@pytest.mark.parametrize("capabilities", UNUSABLE_CAPABILITIES)
def test_an_agent_with_unusable_capabilities_is_refused(capabilities: str) -> None:
    body = f'{{"message_type": "REGISTER_AGENT", "agent_id": "a", "capabilities": {capabilities}}}'
    result = decode_metadata(body.encode(), MAX_BYTES)
    assert_rejected(result, RejectReason.INVALID_FIELD, "`capabilities`")


@pytest.mark.parametrize("half", [r"\ud83d", r"\uDE00", r"\u0000"])
def test_half_an_emoji_in_a_capability_costs_nothing_but_itself(half: str) -> None:
    names = f'["sums", "tables {half}"]'
    expected = ("sums", "tables \N{REPLACEMENT CHARACTER}")
    assert registration(f'"capabilities": {names}').capabilities == expected
    message = requiring(names)
    assert isinstance(message, ChatMessage)
    assert message.required_capabilities == expected
    assert f'"required_capabilities":{names}' in encode_routed(message, "a").decode()


def test_as_many_and_as_long_as_allowed_are_fine() -> None:
    names = sorted([f"{number:02}" * 127 + "é" for number in range(MAX_CAPABILITIES)])
    assert {len(name) for name in names} == {MAX_CAPABILITY_LENGTH}
    message = requiring(json.dumps(names * 2))
    assert isinstance(message, ChatMessage)
    assert message.required_capabilities == tuple(names)


@pytest.mark.parametrize(
    ("fields", "answered"),
    [
        ({"in_reply_to_message_id": "m1"}, "m1"),
        ({"in_reply_to": "m2"}, "m2"),
        ({"in_reply_to_message_id": "m1", "in_reply_to": "m2"}, "m1"),
        ({"in_reply_to_message_id": None, "in_reply_to": "m2"}, "m2"),
        ({"in_reply_to": None}, None),
        ({}, None),
    ],
)
def test_a_message_and_an_error_name_what_they_answer(
    fields: dict[str, str | None], answered: str | None
) -> None:
    for message_type in ("REPLY", "ERROR"):
        body = json.dumps({"message_type": message_type, "sender_id": "a", **fields})
        message = decode_input(body.encode(), MAX_BYTES)
        assert isinstance(message, ChatMessage | AgentError)
        assert message.sender_id == "a"
        assert message.in_reply_to == answered


@pytest.mark.parametrize("changed_at", ["1000", "1000.0", "1e3"])
def test_a_whole_number_is_one_however_it_is_written(changed_at: str) -> None:
    body = (
        '{"message_type": "AGENT_DISCONNECTED", "agent_id": "a", "origin": "x", '
        f'"changed_at": {changed_at}}}'
    )

    assert decode_registry_event(body.encode(), MAX_BYTES) == RegistryEvent(
        ClientDisconnected("a"), Version(1000, "x")
    )


@pytest.mark.parametrize("name", ["server_id", "websocket_url"])
def test_an_advertisement_of_the_wrong_type_is_refused(name: str) -> None:
    body = f'{{"message_type": "SERVER_AVAILABLE", "{name}": ["{MARKER}"]}}'
    assert_rejected(decode_advertisement(body.encode(), MAX_BYTES), RejectReason.INVALID_FIELD)


def test_frames_of_the_broker() -> None:
    assert json.loads(encode_register_broker('B "1"')) == {
        "message_type": "REGISTER_BROKER",
        "broker_name": 'B "1"',
    }
    assert json.loads(encode_pong("broker_1")) == {"message_type": "PONG", "broker_id": "broker_1"}


def test_the_request_for_agents_bears_the_time() -> None:
    request = json.loads(encode_request_agent_status("broker_1"))
    timestamp = datetime.fromisoformat(request.pop("timestamp"))

    assert request == {"message_type": "REQUEST_AGENT_STATUS", "sender_id": "broker_1"}
    assert timestamp.utcoffset() == timedelta(0)
    assert timestamp <= datetime.now(UTC)


# Frames and status updates.


def test_a_frame_is_its_type_and_its_fields() -> None:
    frame = decode_frame(' {"message_type": "PING", "n": 1.0e-7 } ')

    assert not isinstance(frame, Rejected)
    message_type, fields = frame
    assert message_type == "PING"
    assert {name: bytes(raw) for name, raw in fields.items()} == {
        "message_type": b'"PING"',
        "n": b"1.0e-7",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", RejectReason.INVALID_JSON),
        (f'{{"message_type": "{MARKER}', RejectReason.INVALID_JSON),
        (f'"{MARKER}" x', RejectReason.INVALID_JSON),
        ("\ufeff{}", RejectReason.INVALID_JSON),
        (f'["{MARKER}"]', RejectReason.NOT_AN_OBJECT),
        ("{}", RejectReason.MISSING_MESSAGE_TYPE),
        ('{"message_type": null}', RejectReason.MISSING_MESSAGE_TYPE),
        (f'{{"message_type": ["{MARKER}"]}}', RejectReason.INVALID_FIELD),
        pytest.param('{"x":' * 1_000_000, RejectReason.TOO_DEEP, id="deep-objects"),
        pytest.param("[" * 1_000_000, RejectReason.TOO_DEEP, id="deep-arrays"),
    ],
)
def test_unusable_frames_are_refused(text: str, reason: RejectReason) -> None:
    assert_rejected(decode_frame(text), reason)


@pytest.mark.parametrize(
    ("value", "expected"),
    [('"a\\n"', "a\n"), ("null", None), ("5", None), ("[]", None), ("9" * 5_000, None)],
    ids=["string", "null", "number", "list", "big-number"],
)
def test_a_string_field_is_a_string_or_nothing(value: str, expected: str | None) -> None:
    frame = decode_frame(f'{{"message_type": "A", "x": {value}}}')

    assert not isinstance(frame, Rejected)
    assert string_field(frame[1], "x") == expected
    assert string_field(frame[1], "y") is None


# Input made to hurt.

HOSTILE_BODIES = {
    RejectReason.INVALID_JSON: [
        *(b"", b" \n", b"\0", b"m4rk3r", b"nul"),
        # They break off, or go on.
        *(b'{"message_type": "m4rk3r"', b'{"x": "m4rk3r', b'{"x": "m4rk3r\\', b'["m4rk3r"'),
        *(b'{"x": "m4rk3r"}{}', b'["m4rk3r"] m4rk3r', b'{"m4rk3r": 1,}', b"]" * 200 + b"[" * 200),
        # Objects, numbers and strings that JSON does not have.
        *(b'{"m4rk3r" 1}', b"{'m4rk3r': 1}", b"{1: 2}", b"{/* m4rk3r */}", b'{"x": ' + b"[}" * 200),
        *(
            b'{"x": %b}' % value
            for value in (b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b"1e")
        ),
        *(b'{"x": "%b"}' % text for text in (b"m4rk3r\n", rb"m4rk3r\q", rb"\u12")),
        # Encodings.
        *(b'\xef\xbb\xbf{"message_type": "m4rk3r"}', '{"m4rk3r": 1}'.encode("utf-16-le")),
    ],
    RejectReason.INVALID_UTF8: [
        *('{"m4rk3r": 1}'.encode("utf-16"), '{"x": "m4rk3r é"}'.encode("latin-1")),
        *(b'{"x": "\xe2\x82', b'{"x": "\xc0\x80"}', b'{"x": "\xed\xa0\x80"}'),
    ],
    RejectReason.NOT_AN_OBJECT: [
        *b'["m4rk3r"] "m4rk3r" 5 1e999 true null'.split(),
        b"9" * 5_000,
    ],
    RejectReason.TOO_DEEP: [
        b'{"x": ' + b"[" * 9_999 + b"]" * 9_999 + b"}",
        b'{"x": ' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 10_000,
    ],
    RejectReason.MISSING_MESSAGE_TYPE: [b'{"x": "m4rk3r"}', b"{}", b'{"message_type": null}'],
    RejectReason.INVALID_FIELD: [
        b'{"message_type": %b}' % value for value in (b"5", b'["m4rk3r"]', b"9" * 5_000)
    ],
    RejectReason.UNSUPPORTED_MESSAGE_TYPE: [
        b'{"message_type": "%b"}' % name for name in (b"m4rk3r", b"", b"text")
    ],
}


HALVES = [
    r"\ud83d",
    r"\uDE00",
    r"\ude00\ud83d",
    r"\ud83d\ud83d",
    r"\ud83d\ud83d\ude00",
    r"\\\ud83d\\",
    r"\ud83dA\ud83e",
]


@pytest.mark.parametrize("half", HALVES)
def test_half_an_emoji_is_routed_as_it_came(half: str) -> None:
    fields = {
        '"message_type"': '"TEXT"',
        '"message_id"': f'"m{half}"',
        '"sender_id"': f'"A{half}"',
        '"text_payload"': f'"{half} \\\\ud83d \\ud83d\\ude00 {half}"',
        '"in_reply_to"': f'"{half}"',
        f'"key{half}"': "1",
        '"nested"': f'[{{"a{half}":  ["{half}", 1.50]}}, "{half}"]',
        '"routing_status"': f'"{half}"',
    }
    body = "{" + ", ".join(f"{name}:{value}" for name, value in fields.items()) + "}"
    message = chat(body)
    assert message.sender_id.isprintable() is False, "no agent can be called that"

    fields |= {'"routing_status"': '"routed"', '"receiver_id"': '"bob"'}
    routed = "{" + ",".join(f"{name}:{value}" for name, value in fields.items()) + "}"
    # Names of fields and the sender of an answer are written anew, with whole emojis as they are.
    rewritten = half.replace(r"\ud83d\ude00", "\U0001f600")
    routed = routed.replace(f'"key{half}"', f'"key{rewritten}"')
    assert encode_routed(message, "bob").decode() == routed

    failure = encode_routing_failure(message, FailureReason.NO_AGENT_ONLINE, "new").decode()
    assert f'"original_message_id":"m{half}"' in failure
    assert f'"in_reply_to_message_id":"m{half}"' in failure
    assert f'"original_sender_id":"A{rewritten}"' in failure
    assert json.loads(failure)["original_sender_id"] == json.loads(f'"A{half}"')


def test_half_an_emoji_does_not_make_ids_equal() -> None:
    body = r'{"message_type": "TEXT", "sender_id": "%s"}'
    senders = {chat(body % sender).sender_id for sender in (r"\ud83d", r"\ud83e", r"\ude00", "A")}
    assert len(senders) == 4
    assert chat(body % r"\ud83d").sender_id == chat(body % r"\ud83d").sender_id


@pytest.mark.parametrize("half", HALVES)
def test_half_an_emoji_in_what_is_not_routed(half: str) -> None:
    assert decode_input(f'{{"message_type":"ERROR","a":"{half}"}}'.encode(), 99) == AgentError()
    for body, reason in (
        (f'["{half}"]', RejectReason.NOT_AN_OBJECT),
        (f'{{"message_type": "{half}"}}', RejectReason.UNSUPPORTED_MESSAGE_TYPE),
        (f'{{"message_type": "TEXT", "sender_id": ["{half}"]}}', RejectReason.INVALID_FIELD),
        (f'{{"message_type": "TEXT", "a": "{half}"', RejectReason.INVALID_JSON),
        (f'{{"message_type": "TEXT", "a": "{half}" 1}}', RejectReason.INVALID_JSON),
        (f'{{"a": "{half}"}}', RejectReason.MISSING_MESSAGE_TYPE),
    ):
        assert_rejected(decode_input(body.encode(), MAX_BYTES), reason)


def test_a_body_that_is_large_by_half_emojis_only() -> None:
    body = rb'{"message_type": "TEXT", "a": "%b"}' % (rb"\ud83d" * 1_000)
    message = decode_input(body, len(body))
    assert isinstance(message, ChatMessage)
    assert encode_routed(message, "bob").count(rb"\ud83d") == 1_000


def test_a_forged_mark_of_half_an_emoji_is_nothing() -> None:
    forged = rb"\u0000lone-surrogate-d83d"
    body = rb'{"message_type":"TEXT","a":"%b"}' % forged
    assert forged in encode_routed(chat(body), "bob")
    body = rb'{"message_type":"TEXT","a":"%b\ud83d"}' % forged
    assert isinstance(decode_input(body, MAX_BYTES), Rejected)
    body = rb'{"message_type":"TEXT","\u0000lone-surrogat\u0065-zz":"\ud83d"}'
    assert rb'"\u0000lone-surrogate-zz":"\ud83d"' in encode_routed(chat(body), "bob")


WITH_HALVES = st.text(st.characters(exclude_categories=[]), max_size=20)


@given(st.dictionaries(WITH_HALVES, WITH_HALVES, max_size=4), WITH_HALVES, WITH_HALVES)
def test_whatever_python_writes_arrives(unknown: dict[str, str], text: str, sender: str) -> None:
    fields = {**unknown, "message_type": "TEXT", "text_payload": text, "sender_id": sender}
    fields.pop("receiver_id", None)
    # A pair in two escapes is one character again, for everybody who reads it.
    body = json.dumps(fields)
    message = chat(body)
    expected = {**json.loads(body), "receiver_id": "bob"}
    for name in ("_client_id", "_broadcast", "_target_agent_id"):
        expected.pop(name, None)
    if "routing_status" in expected:
        expected["routing_status"] = "routed"
    assert json.loads(encode_routed(message, "bob")) == expected


@pytest.mark.parametrize("half", HALVES)
def test_half_an_emoji_costs_its_field_of_what_the_server_says(half: str) -> None:
    registered = registration(
        f'"agent_name": "Ada {half}", "{half}": ["{half}"], "_client_id": "c{half}"'
    )
    assert registered.agent_name.startswith("Ada ")
    assert "\N{REPLACEMENT CHARACTER}" in registered.agent_name
    assert registered.agent_name.encode()
    assert f'"_client_id":"c{half}"' in encode_register_response(registered).decode()
    body = f'{{"message_type": "SERVER_AVAILABLE", "server_id": "{half}", "websocket_url": "u"}}'
    advertised = decode_advertisement(body.encode(), MAX_BYTES)
    assert isinstance(advertised, ServerAvailable)
    assert advertised.websocket_url == "u"
    assert advertised.server_id is not None
    assert "\0" not in advertised.server_id

    for message_type in ("REGISTER_AGENT", "CLIENT_DISCONNECTED"):
        body = f'{{"message_type": "{message_type}", "agent_id": "a{half}"}}'
        assert_rejected(decode_metadata(body.encode(), MAX_BYTES), RejectReason.INVALID_FIELD)


@pytest.mark.parametrize(
    "text", [r"\\ud83d", r"\ud83d\ude00", r"\\\ud83d\uDE00\\", "ud83d", r"\u00e9\n", r"\u0d83d"]
)
def test_what_only_looks_like_half_an_emoji_stays(text: str) -> None:
    frame = decode_frame(f'{{"message_type": "A", "x": "{text}", "y": "\\ud83d"}}')
    assert not isinstance(frame, Rejected)
    assert string_field(frame[1], "x") == json.loads(f'"{text}"')
    assert string_field(frame[1], "y") == "\0"


@given(body=st.text(st.sampled_from('\\ud83de0"x'), max_size=40))
def test_masking_lone_surrogates_leaves_only_those_out(body: str) -> None:
    text = f'"{body}"'
    try:
        expected = json.loads(text)
    except ValueError:
        return
    masked = mask_lone_surrogates(text.encode())
    assert len(masked) == len(text)
    assert json.loads(masked) == re.sub("[\ud800-\udfff]", "\0", expected)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(("reason", "bodies"), HOSTILE_BODIES.items())
def test_hostile_bodies_are_refused(
    decode: Decode, reason: RejectReason, bodies: list[bytes]
) -> None:
    for body in bodies:
        assert_rejected(decode(body, MAX_BYTES), reason)


@pytest.mark.parametrize("value", ["5", "true", "[]", '{"m4rk3r": 1}', "1e999", "9" * 5_000])
@pytest.mark.parametrize("name", CHAT_STRINGS)
def test_chat_fields_must_be_strings(name: str, value: str) -> None:
    result = decode_input(f'{{"message_type": "TEXT", "{name}": {value}}}'.encode(), MAX_BYTES)

    assert_rejected(result, RejectReason.INVALID_FIELD, f"`{name}`")


@pytest.mark.parametrize("decode", DECODERS)
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(decode: Decode) -> None:
    body = b'{"message_type": "m4rk3r"}'
    fits, exceeds = decode(body, len(body)), decode(body, len(body) - 1)

    assert_rejected(fits, RejectReason.UNSUPPORTED_MESSAGE_TYPE)
    assert_rejected(exceeds, RejectReason.TOO_LARGE)


def test_size_is_looked_at_before_anything_else() -> None:
    result = decode_input(b"\xff" * 11, 10)

    assert result == Rejected(RejectReason.TOO_LARGE, "the body has 11 bytes, 10 are allowed")


def nested(levels: int, sibling: str) -> bytes:
    """Write a chat message with so many levels, and a sibling of the next level on each."""
    inside = "".join(
        f'{{"k": {sibling}, "n": ' if level % 2 else f"[{sibling}, " for level in range(levels - 1)
    )
    ends = "".join("}" if level % 2 else "]" for level in reversed(range(levels - 1)))
    return f'{{"message_type": "TEXT", "x": {inside}1{ends}}}'.encode()


@pytest.mark.parametrize(
    "value",
    [
        "[" + ",".join(["[]"] * 10_000) + "]",
        "[" + ",".join(['{"a": [{}]}'] * 1_000) + "]",
        json.dumps("[{" * 10_000),
        json.dumps('"[' * 10_000),
        json.dumps("\\[" * 10_000),
        json.dumps({"[" * 10_000: 1}),
    ],
    ids=["wide", "wide-and-mixed", "string", "quotes", "backslashes", "key"],
)
def test_many_brackets_are_not_many_levels(value: str) -> None:
    body = f'{{"message_type": "TEXT", "x": {value}}}'

    assert values(encode_routed(chat(body), "a"))["x"] == value.encode()


@pytest.fixture
def patience() -> Iterator[None]:
    """Interrupt what would otherwise run for hours."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    handler = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


@pytest.mark.usefixtures("patience")
def test_a_body_of_a_megabyte_is_refused_in_linear_time() -> None:
    for body in (
        *(b"[" * 129 + b'"' + b'\\"' * 500_000, b"[" * 129 + b'"' * 1_000_000),
        *(b"[" * 129 + b"\\" * 1_000_000, b"[" * 1_000_000 + b"]" * 128),
        *(b"[" * 1_000_000, b"]" * 1_000_000, b"[]" * 500_000),
        b"[" + b",".join([b"[" * 127 + b"]" * 127] * 4_000) + b"]",
        b'{"message_type": ' + b"9" * 1_000_000 + b"}",
        b'{"message_type": "TEXT", "sender_id": 0.' + b"9" * 1_000_000 + b"}",
    ):
        assert_rejected(decode_input(body, 2 * MAX_BYTES))


# Anything at all.

SEEDS = [
    '{"message_type": "TEXT", "message_id": "m4rk3r", "sender_id": "m4rk3r", "x": [1, {"a": -0}]}',
    '{"message_type": "ERROR", "text_payload": "m4rk3r"}',
    '{"message_type": "REGISTER_AGENT", "agent_id": "m4rk3r", "capabilities": ["m4rk3r"]}',
    '{"message_type": "CLIENT_DISCONNECTED", "agent_id": "m4rk3r"}',
    '{"message_type": "SERVER_AVAILABLE", "server_id": "m4rk3r", "websocket_url": "m4rk3r"}',
    '{"message_type": "A", "agents": [{"agent_id": "m4rk3r", "is_online": true}, {"m4rk3r": 1}]}',
    '{"message_type": "m4rk3r", "m4rk3r": {"m4rk3r": "m4rk3r"}}',
]
SPLINTERS = st.binary(max_size=3) | st.sampled_from(
    [b"", b"null", b"5", b"[", b"]", b"{", b"}", b'"', b"\\", b":", b",", b"m4rk3r", b'"m4rk3r"']
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Break a good message, or change it so that it stays good JSON."""
    body = draw(st.sampled_from(SEEDS)).encode()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(start + 20, len(body))))
        body = body[:start] + draw(SPLINTERS) + body[end:]
    return body


RETYPED = st.dictionaries(
    st.sampled_from(MEANINGFUL),
    JSON | st.sampled_from([f'"{MARKER}"', f'["{MARKER}"]', f'{{"{MARKER}": "{MARKER}"}}']),
).flatmap(
    lambda fields: st.sampled_from(
        ["TEXT", "ERROR", "REGISTER_AGENT", "CLIENT_DISCONNECTED", "SERVER_AVAILABLE"]
    ).flatmap(lambda kind: objects_of({"message_type": f'"{kind}"', **fields}))
)
ANY_BODY = st.binary(max_size=40) | JSON.map(str.encode) | RETYPED.map(str.encode) | mutated()


def as_others_read(body: bytes) -> object:
    """Decode as a strict peer does, whatever the size of the numbers."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(body.decode(), parse_int=str, parse_float=str, parse_constant=refuse)


@given(body=ANY_BODY)
def test_any_body_becomes_a_message_or_a_reason(body: bytes) -> None:
    message = decode_input(body, MAX_BYTES)
    assert isinstance(message, ChatMessage | AgentError | Rejected)
    about_agent = decode_metadata(body, MAX_BYTES)
    assert isinstance(about_agent, RegisterAgent | ClientDisconnected | Rejected)
    about_server = decode_advertisement(body, MAX_BYTES)
    assert isinstance(about_server, ServerAvailable | Rejected)

    for result in (message, about_agent, about_server):
        if isinstance(result, Rejected):
            assert_rejected(result)
        else:
            assert isinstance(as_others_read(body), dict)
    if isinstance(message, ChatMessage):
        as_others_read(encode_routed(message, "a"))
        as_others_read(encode_routing_failure(message, FailureReason.NO_AGENT_ONLINE, "e1"))
    if isinstance(about_agent, RegisterAgent):
        as_others_read(encode_register_response(about_agent))


@given(body=ANY_BODY)
def test_any_frame_becomes_fields_or_a_reason(body: bytes) -> None:
    frame = decode_frame(body.decode(errors="replace"))
    if isinstance(frame, Rejected):
        assert_rejected(frame)
        return
    message_type, fields = frame
    assert isinstance(message_type, str)
    assert all(isinstance(string_field(fields, name), str | None) for name in fields)
    update = decode_status_update(fields)
    assert isinstance(update, StatusUpdate | Rejected)


@given(levels=st.integers(MAX_DEPTH - 3, MAX_DEPTH + 4), sibling=STRINGS | NUMBERS)
@example(levels=MAX_DEPTH, sibling=r'"\\\"[[["')
@example(levels=MAX_DEPTH + 1, sibling=r'"\"]]]"')
def test_depth_is_measured_whatever_stands_beside(levels: int, sibling: str) -> None:
    result = decode_input(nested(levels, sibling), MAX_BYTES)

    if levels <= MAX_DEPTH:
        assert isinstance(result, ChatMessage)
    else:
        assert_rejected(result, RejectReason.TOO_DEEP)
