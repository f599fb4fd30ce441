"""The document says what the codec does, and is what AsyncAPI 3 demands."""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from msgspec import Raw

from broker.amqp import Delivery, dead_letter
from broker.amqp.admin.all_properties import decode_all_properties
from broker.central import session
from broker.cli.asyncapi import asyncapi
from broker.cli.asyncapi_document import asyncapi_document
from broker.cli.asyncapi_examples import EXAMPLES
from broker.cli.dead_letters import document
from broker.core import codec
from broker.core.messages import (
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
from broker.settings import Settings
from tests.lab.status_update import decode_status_update

MAX_BYTES = 1_000_000
DOCUMENT = asyncapi_document(Settings())
MESSAGES = DOCUMENT["components"]["messages"]
SCHEMAS = DOCUMENT["components"]["schemas"]
EXAMPLE = {message.__name__: example for message, example in EXAMPLES.items()}
QUEUE_DECODERS: Mapping[str, Callable[[bytes, int], object]] = {
    "input": codec.decode_input,
    "metadata": codec.decode_metadata,
    "advertisement": codec.decode_advertisement,
    "registry": codec.decode_registry_event,
}
RECEIVED = [
    (channel, name)
    for channel in QUEUE_DECODERS
    for name in DOCUMENT["channels"][channel]["messages"]
]
TYPE_NAME = re.compile(r"[A-Z]+(_[A-Z]+)*")


def schema(name: str) -> Draft7Validator:
    return Draft7Validator(
        {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    )


def resolve(reference: str) -> Any:
    assert reference.startswith("#/")
    found: Any = DOCUMENT
    for part in reference[2:].split("/"):
        found = found[part]
    return found


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def types_of(name: str) -> set[str]:
    return set(SCHEMAS[name]["properties"]["message_type"]["enum"])


def types_on(*channels: str) -> set[str]:
    return {
        message_type
        for channel in channels
        for name in DOCUMENT["channels"][channel]["messages"]
        for message_type in types_of(name)
    }


# The codec is the contract.


def test_each_frame_that_a_session_understands_is_documented() -> None:
    constants = (
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(session)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    understood = {one for one in constants if TYPE_NAME.fullmatch(one)}
    sent = {
        message_type
        for operation in DOCUMENT["operations"].values()
        if operation["channel"]["$ref"] == "#/channels/server" and operation["action"] == "send"
        for message in operation["messages"]
        for message_type in types_of(message["$ref"].rpartition("/")[2])
    }
    assert understood == types_on("server") - sent - {"PONG"}


@pytest.mark.parametrize("channel", QUEUE_DECODERS)
def test_each_queue_documents_what_it_takes(channel: str) -> None:
    rejected = QUEUE_DECODERS[channel](b'{"message_type": "?"}', MAX_BYTES)
    assert isinstance(rejected, Rejected)
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", rejected.error))
    assert types_on(channel) == named


@pytest.mark.parametrize(("channel", "name"), RECEIVED)
def test_the_codec_takes_the_example(channel: str, name: str) -> None:
    body = json.dumps(EXAMPLE[name]).encode()
    assert not isinstance(QUEUE_DECODERS[channel](body, MAX_BYTES), Rejected)


ANY_ID = st.one_of(
    st.text(max_size=4),
    st.sampled_from(["", "a\n", "\x7f", "\u2028", "x" * 255, "x" * 256, "ä\U0001f600"]),
)
ANYTHING = st.one_of(
    ANY_ID,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.one_of(ANY_ID, st.none(), st.integers()), max_size=2),
    st.lists(st.lists(st.one_of(ANY_ID, st.integers(), st.booleans()), max_size=4), max_size=2),
    st.lists(st.tuples(ANY_ID, ANY_ID, st.floats(0, 1e9)), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=1),
)


@pytest.mark.parametrize(("channel", "name"), RECEIVED)
@given(data=st.data())
def test_the_codec_takes_what_the_schema_allows_and_nothing_else(
    channel: str, name: str, data: st.DataObject
) -> None:
    fields = [field for field in SCHEMAS[name]["properties"] if field != "message_type"]
    names = [*fields, "another"] if fields else ["sender_id", "text_payload"]
    message = {
        **(EXAMPLE[name] if data.draw(st.booleans()) else {}),
        **data.draw(st.dictionaries(st.sampled_from(names), ANYTHING)),
        "message_type": data.draw(st.sampled_from(sorted(types_of(name)))),
    }

    body = json.dumps(message)

    taken = QUEUE_DECODERS[channel](body.encode(), MAX_BYTES)

    assert schema(name).is_valid(json.loads(body)) == (not isinstance(taken, Rejected)), taken


@given(data=st.data())
def test_a_status_update_that_the_schema_allows_is_taken_whole(data: st.DataObject) -> None:
    entry = st.dictionaries(st.sampled_from(list(SCHEMAS["AgentEntry"]["properties"])), ANYTHING)
    update = {
        **EXAMPLE["AgentStatusUpdate"],
        # Of a full update with agents, one must have a flag.
        "agents": [*data.draw(st.lists(entry, max_size=3)), {"agent_id": "a", "is_online": True}],
        "is_full_update": data.draw(ANYTHING),
    }
    if not schema("AgentStatusUpdate").is_valid(update):
        update = EXAMPLE["AgentStatusUpdate"]
    frame = codec.decode_frame(json.dumps(update))
    assert not isinstance(frame, Rejected)
    taken = decode_status_update(frame[1])
    assert isinstance(taken, StatusUpdate)
    assert taken.skipped == 0


def chat(**fields: object) -> ChatMessage:
    body = json.dumps({"message_type": "TEXT", "sender_id": "alice", **fields}).encode()
    message = codec.decode_input(body, MAX_BYTES)
    assert isinstance(message, ChatMessage)
    return message


CHAT = chat(message_id="m-1", _client_id={"a": 1})
ROUTED = chat(
    **{
        field: ["x"] if field == "required_capabilities" else "x"
        for field in SCHEMAS["ChatMessage"]["properties"]
        if field != "message_type"
    }
)
REGISTERED = RegisterAgent("alice", "Alice", Raw(b"7"), ("chat", "maths"))
SENT: Sequence[tuple[str, bytes | str]] = [
    ("RoutedMessage", codec.encode_routed(ROUTED, "bob")),
    *(
        ("RoutingFailure", codec.encode_routing_failure(CHAT, reason, "e", 1.5))
        for reason in FailureReason
    ),
    ("RoutingFailure", codec.encode_routing_failure(chat(), FailureReason.NO_AGENT_ONLINE, "e")),
    ("RegisterAgentResponse", codec.encode_register_response(REGISTERED)),
    ("RegisterAgentResponse", codec.encode_register_response(RegisterAgent("alice", "Alice"))),
    *(
        (name, codec.encode_registry_event(RegistryEvent(change, Version(1, "a"))))
        for name, change in (
            ("AgentRegistered", REGISTERED),
            ("AgentRegistered", RegisterAgent("alice", "Alice", capabilities=())),
            ("AgentDisconnected", ClientDisconnected("alice")),
            ("ServerAdvertised", ServerAvailable("s", "ws://s")),
            ("AnswersSeen", AnswersSeen([Answer("alice", "m-1", 0.5), Answer("bob", "m-2")])),
        )
    ),
    ("RegisterBroker", codec.encode_register_broker("Broker")),
    ("Pong", codec.encode_pong("broker-1")),
    ("RequestAgentStatus", codec.encode_request_agent_status("broker-1")),
]


@pytest.mark.parametrize(("name", "body"), SENT, ids=[name for name, _ in SENT])
def test_what_the_codec_writes_is_as_documented(name: str, body: bytes | str) -> None:
    message = json.loads(body)
    schema(name).validate(message)
    assert message.keys() <= SCHEMAS[name]["properties"].keys()


def test_everything_that_is_documented_is_written() -> None:
    names = {name for name, _ in SENT}
    for name in names:
        written = {field for one, body in SENT if one == name for field in json.loads(body)}
        assert written == SCHEMAS[name]["properties"].keys(), name
    # What a receiving operation answers with is sent, too.
    sent = {
        reference.rpartition("/")[2]
        for operation in DOCUMENT["operations"].values()
        for reference in references(
            operation.get("reply", {}).get("messages", [])
            if operation["action"] == "receive"
            else operation["messages"]
        )
    }
    # Forwarded or parked as they came: nobody writes them.
    assert sent - {"AgentError", "DeadLetter"} == names
    encoders = [name for name in vars(codec) if name.startswith("encode_")]
    assert len(encoders) == len(names) - 3  # one function writes the four registry events


def test_dead_letters_have_the_documented_headers() -> None:
    found: set[str] = set()
    for reason, raw in product(RejectReason, (b"\0\0", b"\1\0\x0560000", b"\0\0trailing")):
        delivery = Delivery("input", 1, b"", replays=3, raw_properties=raw)
        letter = dead_letter(delivery, queue="letters", reason=reason, error="why", broker_id="b")
        headers = {**letter.headers, **decode_all_properties(letter.kept or b"").headers}
        schema("DeadLetterHeaders").validate(document.plain(headers))
        found |= headers.keys()
    assert found == SCHEMAS["DeadLetterHeaders"]["properties"].keys()


# AsyncAPI 3.0.


def test_all_that_is_required_is_there() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    allowed = {
        *("asyncapi", "id", "info", "servers", "defaultContentType"),
        *("channels", "operations", "components"),
    }
    assert DOCUMENT.keys() <= allowed
    for server in DOCUMENT["servers"].values():
        assert server.keys() >= {"host", "protocol"}
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert operation.keys() >= {"channel", "messages"}
    for group in ("servers", "channels", "operations"):
        assert all(re.fullmatch(r"[A-Za-z0-9_\-]+", name) for name in DOCUMENT[group])


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > 50
    for reference in found:
        resolve(reference)


def test_operations_use_messages_of_their_channels() -> None:
    for operation in DOCUMENT["operations"].values():
        for part in (operation, operation.get("reply")):
            if part is not None:
                channel = part["channel"]["$ref"]
                assert part["messages"]
                for message in part["messages"]:
                    assert message["$ref"].startswith(f"{channel}/messages/")


def test_every_message_travels_and_every_schema_is_used() -> None:
    used = set(references([DOCUMENT["channels"], DOCUMENT["components"]]))
    assert {f"#/components/messages/{name}" for name in MESSAGES} <= used
    assert {f"#/components/schemas/{name}" for name in SCHEMAS} <= used
    operated = set(references(DOCUMENT["operations"]))
    for name, channel in DOCUMENT["channels"].items():
        assert {
            f"#/channels/{name}/messages/{message}" for message in channel["messages"]
        } <= operated


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one(name: str) -> None:
    Draft7Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", EXAMPLE)
def test_each_example_is_as_its_schema_says(name: str) -> None:
    [example] = MESSAGES[name]["examples"]
    schema(name).validate(example["payload"])


# The command.


def printed(capsys: pytest.CaptureFixture[str], **given: str) -> Any:
    assert asyncapi(**given) == 0
    return json.loads(capsys.readouterr().out)


def test_it_names_the_queues_and_peers_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMQP_URL", "amqps://me:hidden@[::1]/x,amqp://me:hidden@b:5673/x")
    monkeypatch.setenv("WEBSOCKET_URL", "wss://server.example/agents?key=hidden")
    monkeypatch.setenv("BROKER_INPUT_QUEUE", "chat")
    document = printed(capsys, broker_output_queue="out")
    assert "hidden" not in str(document)
    channels, servers = document["channels"], document["servers"]
    assert channels["input"]["address"] == "chat"
    assert channels["input"]["bindings"]["amqp"]["queue"]["vhost"] == "x"
    assert channels["output"]["address"] == "out"
    assert channels["server"]["address"] == "/agents"
    assert {name: (one["protocol"], one["host"]) for name, one in servers.items()} == {
        "rabbitmq1": ("amqps", "[::1]:5671"),
        "rabbitmq2": ("amqp", "b:5673"),
        "central": ("wss", "server.example"),
    }
    nodes = [{"$ref": f"#/servers/rabbitmq{number}"} for number in (1, 2)]
    assert channels["input"]["servers"] == nodes


def test_several_queues_are_the_choices_of_one_channel(capsys: pytest.CaptureFixture[str]) -> None:
    document = printed(capsys, broker_input_queue="i1,i2", broker_output_queue="o1,o2,o3")
    channels = document["channels"]
    for name, queues in {"input": ["i1", "i2"], "output": ["o1", "o2", "o3"]}.items():
        channel = channels[name]
        assert channel["address"] == "{queue}"
        assert channel["parameters"]["queue"]["enum"] == queues
        assert "name" not in channel["bindings"]["amqp"]["queue"]
        assert channel["bindings"]["amqp"]["queue"]["durable"] is True
    assert "CRC-32" in channels["output"]["parameters"]["queue"]["description"]
    assert "parameters" not in channels["metadata"]
