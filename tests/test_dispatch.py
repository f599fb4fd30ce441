import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import structlog

from broker.amqp import Delivery, Publishing, Settlement
from broker.dispatch import Dispatcher, QueueNames
from broker.messages import AgentStatus, RejectReason, ServerAvailable, StatusUpdate
from broker.observe.tally import MessageTally
from broker.registry import AgentRegistry

MAX_BYTES = 1000
QUEUES = QueueNames(
    input="in", output="out", metadata="meta", advertisement="advert", dead_letter="dead"
)
TRACE = {"traceparent": "00-abc-def-01"}


class Desk:
    """A dispatcher, its registry, and a note of everything it called."""

    def __init__(self, max_hops: int = 0) -> None:
        self.registry = AgentRegistry(max_agents=5)
        self.tally = MessageTally()
        self.registered = 0
        self.wanted = 0
        self.advertised: list[ServerAvailable] = []
        self.dispatcher = Dispatcher(
            queues=QUEUES,
            registry=self.registry,
            tally=self.tally,
            broker_id="broker_0001",
            max_message_bytes=MAX_BYTES,
            max_hops=max_hops,
            agent_registered=self._agent_registered,
            status_wanted=self._status_wanted,
            server_available=self.advertised.append,
        )

    def _agent_registered(self) -> None:
        self.registered += 1

    def _status_wanted(self) -> None:
        self.wanted += 1

    def online(self, *agent_ids: str) -> None:
        agents = {name: AgentStatus(name, is_online=True) for name in agent_ids}
        self.registry.apply(StatusUpdate(agents))

    def settle(self, queue: str, body: bytes, **properties: Any) -> Settlement:
        settlement, reason = self.dispatcher.settle(Delivery(queue, 1, body, **properties))
        assert reason is None
        return settlement

    def publish(self, queue: str, body: bytes, **properties: Any) -> Publishing:
        publishing = self.settle(queue, body, **properties).publishing
        assert publishing is not None
        return publishing

    def park(self, queue: str, body: bytes, **properties: Any) -> tuple[Publishing, RejectReason]:
        settlement, reason = self.dispatcher.settle(Delivery(queue, 1, body, **properties))
        assert reason is not None
        assert settlement.publishing is not None
        return settlement.publishing, reason


@pytest.fixture
def desk() -> Desk:
    return Desk()


def chat(sender_id: str | None = "alice", **fields: Any) -> bytes:
    message = {"message_type": "TEXT", "message_id": "m1", "text_payload": "hi"} | fields
    if sender_id is not None:
        message["sender_id"] = sender_id
    return json.dumps(message).encode()


def said(publishing: Publishing) -> Mapping[str, Any]:
    value = json.loads(publishing.body)
    assert isinstance(value, dict)
    return value


def test_a_chat_message_goes_to_somebody_else(desk: Desk) -> None:
    desk.online("alice", "bob")
    for _ in range(20):
        routed = desk.publish("in", chat(_client_id="c1"))
        assert routed.queue == "out"
        assert said(routed)["receiver_id"] == "bob"
        assert "_client_id" not in said(routed)


def test_only_what_is_allowed_passes_from_delivery_to_publishing(desk: Desk) -> None:
    desk.online("bob")
    routed = desk.publish("in", chat(), headers=TRACE, correlation_id="c")
    assert (routed.app_id, routed.headers, routed.correlation_id) == ("broker_0001", TRACE, "c")


@pytest.mark.parametrize(
    ("online", "reason"),
    [(["alice"], "only_sender_online"), ([], "no_agent_online")],
)
def test_nobody_to_route_to(desk: Desk, online: list[str], reason: str) -> None:
    desk.online(*online)
    failures = [desk.publish("in", chat(_client_id="c1")) for _ in range(2)]
    for failure in failures:
        assert failure.queue == "out"
        assert said(failure)["message_type"] == "ERROR"
        assert said(failure)["reason"] == reason
        assert said(failure)["original_message_id"] == "m1"
        assert said(failure)["_client_id"] == "c1"
    assert said(failures[0])["message_id"] != said(failures[1])["message_id"]


@pytest.mark.parametrize("online", [[], ["alice"], ["alice", "bob"]])
def test_an_error_is_forwarded_byte_for_byte(desk: Desk, online: list[str]) -> None:
    """Never routed, and never answered by another ERROR."""
    desk.online(*online)
    body = b'{ "message_type":"ERROR", "sender_id": "zoe", "n": 1e400, "n": 1234567890123456789 }'
    forwarded = desk.publish("in", body)
    assert (forwarded.queue, forwarded.body) == ("out", body)
    assert desk.wanted == 0


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (chat("stranger"), 1),
        (chat("alice"), 0),
        (chat("stranger", _client_id="c1"), 0),
        (chat("stranger", _client_id=None), 0),
        (chat("unknown"), 0),
        (chat(None), 0),
    ],
)
def test_a_status_is_wanted_for_unknown_agents_only(desk: Desk, body: bytes, wanted: int) -> None:
    desk.online("alice")
    desk.publish("in", body)
    assert desk.wanted == wanted


def test_an_agent_that_is_offline_is_known_all_the_same(desk: Desk) -> None:
    desk.online("alice", "bob")
    desk.registry.disconnect("alice")
    desk.publish("in", chat("alice"))
    assert desk.wanted == 0


def test_a_registration_is_answered_and_counts_at_once(desk: Desk) -> None:
    body = (
        b'{"message_type": "REGISTER_AGENT", "agent_id": "bob", "agent_name": "Bob",'
        b' "capabilities": ["x"], "_client_id": 7}'
    )
    answer = desk.publish("meta", body)
    assert answer.queue == "out"
    assert said(answer) == {
        "message_type": "REGISTER_AGENT_RESPONSE",
        "status": "success",
        "agent_id": "bob",
        "message": "Agent registered successfully",
        "_client_id": 7,
    }
    assert desk.registered == 1
    assert desk.registry["bob"].agent_name == "Bob"
    assert said(desk.publish("in", chat()))["receiver_id"] == "bob"


def test_when_there_is_no_room_a_registration_is_parked(desk: Desk) -> None:
    desk.online("a", "b", "c", "d", "e")
    parked, reason = desk.park("meta", b'{"message_type": "REGISTER_AGENT", "agent_id": "f"}')
    assert reason is RejectReason.REGISTRY_FULL
    assert "BROKER_MAX_AGENTS" in str(parked.headers["x-broker-error"])
    assert desk.registered == 0
    assert "f" not in desk.registry


def test_a_row_of_answers_ends_where_the_limit_says() -> None:
    desk = Desk(max_hops=2)
    desk.online("alice", "bob")
    desk.publish("in", chat(message_id="m1"))
    desk.publish("in", chat(message_id="m2", in_reply_to_message_id="m1"))
    parked, reason = desk.park("in", chat(message_id="m3", in_reply_to_message_id="m2"))
    assert reason is RejectReason.TOO_MANY_HOPS
    assert "BROKER_MAX_HOPS" in str(parked.headers["x-broker-error"])
    desk.publish("in", chat(message_id="m4"))


def test_without_a_limit_a_row_of_answers_goes_on(desk: Desk) -> None:
    desk.online("alice", "bob")
    for number in range(100):
        desk.publish("in", chat(message_id=f"m{number + 1}", in_reply_to=f"m{number}"))


def test_what_grows_beyond_the_limit_of_rabbitmq_is_parked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.online("bob")
    body = chat()
    routed = desk.publish("in", body)
    monkeypatch.setattr("broker.dispatch.MAX_BODY_BYTES", len(routed.body))
    assert desk.publish("in", body).body == routed.body
    monkeypatch.setattr("broker.dispatch.MAX_BODY_BYTES", len(routed.body) - 1)
    parked, reason = desk.park("in", body)
    assert (parked.body, reason) == (body, RejectReason.TOO_LARGE)


def test_a_disconnected_agent_stays_known(desk: Desk) -> None:
    desk.online("bob")
    body = b'{"message_type": "CLIENT_DISCONNECTED", "agent_id": "bob"}'
    settlement = desk.settle("meta", body)
    assert settlement.publishing is None
    assert "bob" in desk.registry
    assert not desk.registry.is_online("bob")
    assert desk.registered == 0


def test_a_server_advertises_itself(desk: Desk) -> None:
    body = b'{"message_type": "SERVER_AVAILABLE", "server_id": "s", "websocket_url": "ws://s/ws"}'
    assert desk.settle("advert", body).publishing is None
    assert desk.advertised == [ServerAvailable("s", "ws://s/ws")]


@pytest.mark.parametrize("queue", ["in", "meta", "advert"])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", RejectReason.INVALID_JSON),
        (b"\xff", RejectReason.INVALID_UTF8),
        (b"[]", RejectReason.NOT_AN_OBJECT),
        (b"{}", RejectReason.MISSING_MESSAGE_TYPE),
        (b'{"message_type": "PING"}', RejectReason.UNSUPPORTED_MESSAGE_TYPE),
        (b'{"message_type": 5}', RejectReason.INVALID_FIELD),
        (b'"' + b"x" * MAX_BYTES + b'"', RejectReason.TOO_LARGE),
    ],
)
def test_what_cannot_be_accepted_is_parked(
    desk: Desk, queue: str, body: bytes, reason: RejectReason
) -> None:
    parked, why = desk.park(queue, body, headers=TRACE, correlation_id="c")
    assert why is reason
    assert (parked.queue, parked.body, parked.app_id) == ("dead", body, "broker_0001")
    assert parked.correlation_id == "c"
    headers = dict(parked.headers)
    assert headers.pop("x-broker-error")
    assert headers.pop("x-dead-lettered-at")
    assert headers == TRACE | {
        "x-broker-reason": reason.value,
        "x-original-queue": queue,
        "x-broker-id": "broker_0001",
    }


def test_invalid_properties_are_parked_however_sound_the_body(desk: Desk) -> None:
    desk.online("bob")
    parked, why = desk.park("in", chat("stranger"), properties_error="the timestamp is absurd")
    assert why is RejectReason.INVALID_PROPERTIES
    assert parked.body == chat("stranger")
    assert parked.headers["x-broker-error"] == "the timestamp is absurd"
    assert desk.wanted == 0, "nothing is believed of it"


def broken() -> None:
    raise RuntimeError("a bug that says s3cr3t")


def broken_by(_: object) -> None:
    broken()


@pytest.mark.parametrize(
    ("hook", "broken_hook", "queue", "body"),
    [
        ("_status_wanted", broken, "in", chat("stranger")),
        ("_agent_registered", broken, "meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a"}'),
        ("_server_available", broken_by, "advert", b'{"message_type":"SERVER_AVAILABLE"}'),
    ],
)
def test_a_message_the_broker_fails_on_is_parked(
    *,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    broken_hook: Callable[..., None],
    queue: str,
    body: bytes,
) -> None:
    monkeypatch.setattr(desk.dispatcher, hook, broken_hook)
    with structlog.testing.capture_logs() as lines:
        parked, why = desk.park(queue, body)
    assert why is RejectReason.INTERNAL_ERROR
    assert parked.body == body
    assert "s3cr3t" not in parked.headers["x-broker-error"]
    [failure] = [line for line in lines if line["event"] == "decision_failed"]
    assert (failure["log_level"], failure["queue"]) == ("error", queue)


def test_a_delivery_of_no_known_queue_is_parked(desk: Desk) -> None:
    _, why = desk.park("elsewhere", chat())
    assert why is RejectReason.INTERNAL_ERROR


def test_what_no_queue_takes_is_parked_instead(desk: Desk) -> None:
    desk.online("bob")
    settlement = desk.settle("in", chat(), headers=TRACE)
    assert settlement.unroutable is not None
    parked = settlement.unroutable()
    assert (parked.queue, parked.body) == ("dead", chat())
    assert parked.headers["x-broker-reason"] == "unroutable"
    assert parked.headers["traceparent"] == TRACE["traceparent"]


def test_a_dead_letter_has_nothing_to_fall_back_to(desk: Desk) -> None:
    settlement, _ = desk.dispatcher.settle(Delivery("in", 1, b""))
    assert settlement.unroutable is None


def test_everything_carries_the_id_of_the_moment(desk: Desk) -> None:
    desk.online("bob")
    settlement = desk.settle("in", chat())
    desk.dispatcher.broker_id = "named"
    assert desk.publish("in", chat()).app_id == "named"
    parked, _ = desk.park("in", b"")
    assert (parked.app_id, parked.headers["x-broker-id"]) == ("named", "named")
    assert settlement.unroutable is not None
    assert settlement.unroutable().app_id == "named"


def test_no_log_line_carries_a_payload(desk: Desk) -> None:
    with structlog.testing.capture_logs() as lines:
        desk.publish("in", chat(text_payload="s3cr3t"))
        desk.park("in", b'{"message_type": "TEXT", "sender_id": ["s3cr3t"]}')
        desk.publish("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a","x":"s3cr3t"}')
        desk.settle("meta", b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"a","x":"s3cr3t"}')
    assert [line["event"] for line in lines] == ["agent_registered", "agent_disconnected"]
    assert "s3cr3t" not in repr(lines)


def test_everything_is_counted_by_what_it_was_and_what_came_of_it(desk: Desk) -> None:
    desk.settle("in", chat())
    desk.online("bob")
    desk.settle("in", chat(sender_id="bob"), redelivered=True)
    desk.settle("in", chat(message_type="REPLY"))
    desk.settle("in", b'{"message_type":"ERROR"}')
    desk.settle("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a"}')
    desk.settle("meta", b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"a"}')
    desk.settle("advert", b'{"message_type":"SERVER_AVAILABLE"}')
    desk.park("in", b"rubbish", redelivered=True)
    tally = desk.tally
    assert tally.received == {
        ("in", "TEXT"): 2,
        ("in", "REPLY"): 1,
        ("in", "ERROR"): 1,
        ("meta", "REGISTER_AGENT"): 1,
        ("meta", "CLIENT_DISCONNECTED"): 1,
        ("advert", "SERVER_AVAILABLE"): 1,
        ("in", "unaccepted"): 1,
    }
    assert set(tally.outcomes.values()) == {1}, "each of them has happened once"
    assert tally.redelivered == 2
    assert tally.dead_lettered[RejectReason.INVALID_JSON] == 1
    assert [(note.queue, note.reason) for note in tally.latest_dead_letters] == [
        ("in", "invalid_json")
    ]
    assert desk.registry["bob"].routed == 1


def test_what_no_queue_takes_is_counted_when_it_is_parked(desk: Desk) -> None:
    desk.online("bob")
    settlement = desk.settle("in", chat())
    assert desk.tally.dead_lettered[RejectReason.UNROUTABLE] == 0
    assert settlement.unroutable is not None
    settlement.unroutable()
    assert desk.tally.dead_lettered[RejectReason.UNROUTABLE] == 1
