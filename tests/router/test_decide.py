import json
from collections.abc import Mapping
from operator import attrgetter
from typing import Any
from zlib import crc32

import pytest
import structlog
from msgspec import structs

from broker.amqp import DeadLetterAddress, Delivery, Publishing, Refusals, Settlement
from broker.core.hops import HopCounter
from broker.core.messages import AgentStatus, RejectReason, ServerAvailable, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.core.versions import VersionClock
from broker.router.decide import Decider, Limits, Topology
from broker.router.dispatcher import Dispatcher
from broker.telemetry.tally import MessageTally

MAX_BYTES = 1000
QUEUES = Topology(
    inputs=("in",),
    outputs=("out",),
    metadata="meta",
    advertisement="advert",
    dead_letter="dead",
    registry_exchange="events",
)
SHARDED = structs.replace(QUEUES, inputs=("in-1", "in-2"), outputs=("out-1", "out-2", "out-3"))
AGENT_REGISTERED = (
    b'{"message_type":"AGENT_REGISTERED","agent_id":"a","agent_name":"A",'
    b'"changed_at":1000000,"origin":"x"}'
)
ORIGIN = "this-broker"
TRACE = {"traceparent": "00-abc-def-01"}


class Desk:
    """A dispatcher, its registry, and a note of everything it called."""

    def __init__(self, max_hops: int = 0, queues: Topology = QUEUES) -> None:
        self.registry = AgentRegistry(max_agents=5, origin=ORIGIN)
        self.tally = MessageTally()
        self.refusals = Refusals()
        self.registered = 0
        self.unknown: list[str] = []
        self.advertised: list[ServerAvailable] = []
        self.dispatcher = Dispatcher(
            topology=queues,
            registry=self.registry,
            tally=self.tally,
            broker_id="broker_0001",
            limits=Limits(MAX_BYTES, max_agents=5, max_hops=max_hops),
            refusals=self.refusals,
            agent_registered=self._agent_registered,
            unknown_sender=self.unknown.append,
            server_available=self.advertised.append,
        )

    def _agent_registered(self) -> None:
        self.registered += 1

    def online(self, *agent_ids: str) -> None:
        agents = {name: AgentStatus(name, is_online=True) for name in agent_ids}
        self.registry.apply(StatusUpdate(agents))

    def dispatch(self, queue: str, body: bytes, **properties: Any) -> Settlement:
        settlement = self.dispatcher.dispatch(Delivery(queue, 1, body, **properties))
        assert settlement.rejected is None
        return settlement

    def publish(self, queue: str, body: bytes, **properties: Any) -> Publishing:
        publishing = self.dispatch(queue, body, **properties).publishing
        assert publishing is not None
        return publishing

    def park(self, queue: str, body: bytes, **properties: Any) -> tuple[Publishing, RejectReason]:
        settlement = self.dispatcher.dispatch(Delivery(queue, 1, body, **properties))
        assert settlement.rejected is not None
        assert settlement.publishing is not None
        return settlement.publishing, RejectReason(settlement.rejected)


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


@pytest.mark.parametrize("queue", SHARDED.inputs)
def test_all_messages_for_an_agent_go_to_one_of_several_queues(queue: str) -> None:
    desk = Desk(queues=SHARDED)
    agents = ("ann", "ben", "cho", "dan", "eve")
    desk.online(*agents)
    seen: dict[str, set[str]] = {}
    for _ in range(200):
        routed = desk.publish(queue, chat("nobody"))
        seen.setdefault(said(routed)["receiver_id"], set()).add(routed.queue)
    # Any number that was not of these would break with what other versions do.
    assert seen == {name: {SHARDED.outputs[crc32(name.encode()) % 3]} for name in agents}
    assert set.union(*seen.values()) == set(SHARDED.outputs)


def test_what_is_not_addressed_to_an_agent_goes_to_the_first_queue() -> None:
    desk = Desk(queues=SHARDED)
    failures = [desk.publish(queue, chat()) for queue in SHARDED.inputs]
    assert [failure.queue for failure in failures] == ["out-1", "out-1"]
    desk.online("bob")
    for receiver in ("bob", "ann", "ben", "cho", "dan", "eve"):
        error = json.dumps({"message_type": "ERROR", "receiver_id": receiver}).encode()
        assert desk.publish("in-2", error).queue == "out-1"
        registration = {"message_type": "REGISTER_AGENT", "agent_id": receiver, "agent_name": "x"}
        if receiver != "eve":  # the registry is full
            assert desk.publish("meta", json.dumps(registration).encode()).queue == "out-1"
    parked, _ = desk.park("in-2", b"{")
    assert parked.queue == "dead"
    assert parked.headers["x-original-queue"] == "in-2"


@pytest.mark.parametrize("online", [[], ["alice"], ["alice", "bob"]])
def test_an_error_is_forwarded_byte_for_byte(desk: Desk, online: list[str]) -> None:
    """Never routed, and never answered by another ERROR."""
    desk.online(*online)
    body = b'{ "message_type":"ERROR", "sender_id": "zoe", "n": 1e400, "n": 1234567890123456789 }'
    forwarded = desk.publish("in", body)
    assert (forwarded.queue, forwarded.body) == ("out", body)
    assert desk.unknown == []


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        (chat("stranger"), ["stranger"]),
        (chat("alice"), []),
        (chat("stranger", _client_id="c1"), []),
        (chat("stranger", _client_id=None), []),
        (chat("unknown"), []),
        (chat(None), []),
    ],
)
def test_unknown_agents_are_noticed_and_nobody_else(
    desk: Desk, body: bytes, unknown: list[str]
) -> None:
    desk.online("alice")
    desk.publish("in", body)
    assert desk.unknown == unknown


def test_an_agent_that_is_offline_is_known_all_the_same(desk: Desk) -> None:
    desk.online("alice", "bob")
    desk.registry.disconnect("alice")
    desk.publish("in", chat("alice"))
    assert desk.unknown == []


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


def test_a_disconnected_agent_stays_known(desk: Desk) -> None:
    desk.online("bob")
    body = b'{"message_type": "CLIENT_DISCONNECTED", "agent_id": "bob"}'
    settlement = desk.dispatch("meta", body)
    assert settlement.publishing is None
    assert "bob" in desk.registry
    assert not desk.registry.is_online("bob")
    assert desk.registered == 0


def test_a_server_advertises_itself(desk: Desk) -> None:
    body = b'{"message_type": "SERVER_AVAILABLE", "server_id": "s", "websocket_url": "ws://s/ws"}'
    assert desk.dispatch("advert", body).publishing is None
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


def test_priority_and_expiration_pass_with_what_agents_send(desk: Desk) -> None:
    given: dict[str, Any] = {"priority": 7, "expiration": "60000"}
    failure = desk.publish("in", chat(), **given)
    desk.online("bob")
    routed = desk.publish("in", chat(), **given)
    forwarded = desk.publish("in", b'{"message_type": "ERROR"}', **given)
    registered = desk.publish("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a"}', **given)
    for publishing in (routed, forwarded):
        assert (publishing.priority, publishing.expiration) == (7, "60000")
    for publishing in (failure, registered):
        assert (publishing.priority, publishing.expiration) == (None, None)
    plain = desk.publish("in", chat())
    assert (plain.priority, plain.expiration) == (None, None)


def test_invalid_properties_are_parked_however_sound_the_body(desk: Desk) -> None:
    desk.online("bob")
    parked, why = desk.park("in", chat("stranger"), properties_error="the timestamp is absurd")
    assert why is RejectReason.INVALID_PROPERTIES
    assert parked.body == chat("stranger")
    assert parked.headers["x-broker-error"] == "the timestamp is absurd"
    assert desk.unknown == [], "nothing is believed of it"


def announced(settlement: Settlement) -> dict[str, Any]:
    announcement = settlement.announcement
    assert announcement is not None
    assert (announcement.exchange, announcement.queue) == ("events", "")
    assert announcement.app_id == "broker_0001"
    return dict(said(announcement))


def test_what_is_learned_by_queue_is_told_to_the_other_brokers(desk: Desk) -> None:
    register = b'{"message_type":"REGISTER_AGENT","agent_id":"a","agent_name":"Ada","_client_id":1}'
    disconnect = b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"a"}'
    advertise = b'{"message_type":"SERVER_AVAILABLE","server_id":"s","websocket_url":"ws://s"}'

    registered = announced(desk.dispatch("meta", register))
    disconnected = announced(desk.dispatch("meta", disconnect))
    advertised = announced(desk.dispatch("advert", advertise))

    times = [event.pop("changed_at") for event in (registered, disconnected, advertised)]
    assert times == sorted(set(times))
    assert registered == {
        "message_type": "AGENT_REGISTERED",
        "agent_id": "a",
        "agent_name": "Ada",
        "origin": ORIGIN,
    }
    assert disconnected == {
        "message_type": "AGENT_DISCONNECTED",
        "agent_id": "a",
        "origin": ORIGIN,
    }
    assert advertised == {
        "message_type": "SERVER_ADVERTISED",
        "server_id": "s",
        "websocket_url": "ws://s",
        "origin": ORIGIN,
    }


def test_what_the_server_says_in_chat_is_told_to_nobody(desk: Desk) -> None:
    desk.online("bob")
    assert desk.dispatch("in", chat()).announcement is None
    assert desk.dispatch("events", AGENT_REGISTERED).announcement is None


def test_what_another_broker_learned_counts_as_if_learned_here(desk: Desk) -> None:
    other = Desk()
    for queue, body in (
        ("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a","agent_name":"Ada"}'),
        ("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"b"}'),
        ("meta", b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"b"}'),
        ("advert", b'{"message_type":"SERVER_AVAILABLE","websocket_url":"ws://s"}'),
    ):
        announcement = other.dispatch(queue, body).announcement
        assert announcement is not None
        for _ in range(2):  # a repetition does no harm
            assert desk.dispatch("events", announcement.body).publishing is None
            assert other.dispatch("events", announcement.body).publishing is None

    for each in (desk, other):
        assert {agent.agent_id: agent.is_online for agent in each.registry} == {
            "a": True,
            "b": False,
        }
        assert each.registry["a"].agent_name == "Ada"
        assert each.advertised == [ServerAvailable(None, "ws://s")]
    assert desk.registered > 0


def test_an_advertisement_of_before_does_not_replace_a_later_one(desk: Desk) -> None:
    event = b'{"message_type":"SERVER_ADVERTISED","server_id":"%d","changed_at":%d,"origin":"x"}'
    for number in (2, 1, 3):
        desk.dispatch("events", event % (number, number))
    assert [server.server_id for server in desk.advertised] == ["2", "3"]


def test_word_of_an_agent_for_which_there_is_no_room_is_dropped(desk: Desk) -> None:
    desk.online("a1", "b", "c", "d", "e")
    with structlog.testing.capture_logs() as lines:
        assert desk.dispatch("events", AGENT_REGISTERED).publishing is None
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "clock_skew",
        "registry_full",
    ]


def test_word_of_long_ago_is_told_once_in_a_while(desk: Desk) -> None:
    with structlog.testing.capture_logs() as lines:
        desk.dispatch("events", AGENT_REGISTERED)
        desk.dispatch("events", AGENT_REGISTERED)
    [line] = [line for line in lines if line["event"] == "clock_skew"]
    assert line["origin"] == "x"
    assert line["seconds"] > 1e9


@pytest.mark.parametrize(
    "body",
    [
        b'{"message_type":"REGISTER_AGENT","agent_id":"a","changed_at":1,"origin":"x"}',
        b'{"message_type":"AGENT_REGISTERED","agent_id":"a","changed_at":1}',
        b'{"message_type":"AGENT_REGISTERED","agent_id":"a","origin":"x"}',
    ],
)
def test_what_no_broker_says_is_parked(desk: Desk, body: bytes) -> None:
    parked, _ = desk.park("events", body)
    assert parked.headers["x-original-queue"] == "events"
    assert "a" not in desk.registry


def broken(*_: object) -> None:
    raise RuntimeError("a bug that says s3cr3t")


@pytest.mark.parametrize(
    ("hook", "queue", "body"),
    [
        ("_unknown_sender", "in", chat("stranger")),
        ("_replication.apply", "meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a"}'),
        ("_replication.apply", "advert", b'{"message_type":"SERVER_AVAILABLE"}'),
        ("_replication.apply", "events", AGENT_REGISTERED),
    ],
)
def test_a_message_the_broker_fails_on_is_parked(
    *,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    queue: str,
    body: bytes,
) -> None:
    owner, _, name = hook.rpartition(".")
    monkeypatch.setattr(
        attrgetter(owner)(desk.dispatcher) if owner else desk.dispatcher, name, broken
    )
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


def test_what_rabbitmq_does_not_take_falls_back_to_the_dead_letter_queue(desk: Desk) -> None:
    desk.online("bob")
    assert desk.dispatch("in", chat()).fallback == DeadLetterAddress("dead", "broker_0001")


@pytest.mark.parametrize(("returns", "expected"), [(9, None), (10, "internal_error")])
def test_what_a_full_quorum_queue_has_had_back_too_often_is_dead_lettered(
    desk: Desk, returns: int, expected: str | None
) -> None:
    """It is published anew at its second return, unless its queue refuses that."""
    desk.online("bob")
    settlement = desk.dispatcher.dispatch(Delivery("in", 1, chat(), delivery_count=returns))
    assert settlement.rejected == expected
    if expected is not None:
        assert settlement.publishing is not None
        assert "10 times" in settlement.publishing.headers["x-broker-error"]


def test_a_dead_letter_has_nothing_to_fall_back_to(desk: Desk) -> None:
    assert desk.dispatcher.dispatch(Delivery("in", 1, b"")).fallback is None


def test_what_routing_makes_too_large_for_rabbitmq_is_dead_lettered(desk: Desk) -> None:
    desk.online("bob")
    body = chat()
    routed = desk.publish("in", body)
    desk.refusals.max_message_size = len(routed.body)
    assert desk.publish("in", body) == routed
    desk.refusals.max_message_size -= 1
    letter, why = desk.park("in", body)
    assert (why, letter.body) == (RejectReason.TOO_LARGE, body)
    assert str(len(routed.body)) in letter.headers["x-broker-error"]


def test_everything_carries_the_id_of_the_moment(desk: Desk) -> None:
    desk.online("bob")
    settlement = desk.dispatch("in", chat())
    desk.dispatcher.broker_id = "named"
    assert desk.publish("in", chat()).app_id == "named"
    parked, _ = desk.park("in", b"")
    assert (parked.app_id, parked.headers["x-broker-id"]) == ("named", "named")
    assert settlement.fallback == DeadLetterAddress("dead", "broker_0001")
    assert desk.dispatch("in", chat()).fallback == DeadLetterAddress("dead", "named")


def test_no_log_line_carries_a_payload(desk: Desk) -> None:
    with structlog.testing.capture_logs() as lines:
        desk.publish("in", chat(text_payload="s3cr3t"))
        desk.park("in", b'{"message_type": "TEXT", "sender_id": ["s3cr3t"]}')
        desk.publish("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a","x":"s3cr3t"}')
        desk.dispatch("meta", b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"a","x":"s3cr3t"}')
    assert [line["event"] for line in lines] == ["agent_registered", "agent_disconnected"]
    assert "s3cr3t" not in repr(lines)


def test_everything_is_counted_by_what_it_was_and_what_came_of_it(desk: Desk) -> None:
    desk.dispatch("in", chat())
    desk.online("bob")
    desk.dispatch("in", chat(sender_id="bob"), redelivered=True)
    desk.dispatch("in", chat(message_type="REPLY"))
    desk.dispatch("in", b'{"message_type":"ERROR"}')
    desk.dispatch("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a"}')
    desk.dispatch("meta", b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"a"}')
    desk.dispatch("advert", b'{"message_type":"SERVER_AVAILABLE"}')
    desk.dispatch("events", AGENT_REGISTERED)
    desk.park("in", b"rubbish", redelivered=True)
    tally = desk.tally
    assert tally.received == {
        ("in", "TEXT"): 2,
        ("in", "REPLY"): 1,
        ("in", "ERROR"): 1,
        ("meta", "REGISTER_AGENT"): 1,
        ("meta", "CLIENT_DISCONNECTED"): 1,
        ("advert", "SERVER_AVAILABLE"): 1,
        ("events", "REGISTRY_EVENT"): 1,
        ("in", "unaccepted"): 1,
    }
    assert set(tally.outcomes.values()) == {1}, "each of them has happened once"
    assert tally.redelivered == 2
    assert desk.registry["bob"].routed == 1


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("in", chat("stranger", in_reply_to="m0")),
        ("in", b"{"),
        ("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"a"}'),
        ("meta", b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"bob"}'),
        ("advert", b'{"message_type":"SERVER_AVAILABLE","server_id":"s"}'),
        ("events", AGENT_REGISTERED),
    ],
)
def test_a_decision_changes_nothing_and_can_be_replayed(source: str, body: bytes) -> None:
    registry = AgentRegistry(max_agents=5)
    registry.clock = VersionClock(ORIGIN, lambda: 7)
    registry.register("bob", "Bob")
    decider = Decider(
        topology=QUEUES,
        registry=registry,
        hops=HopCounter(),
        broker_id="broker_0001",
        limits=Limits(MAX_BYTES, max_agents=5, max_hops=2),
        refusals=Refusals(),
        random=lambda: 0.0,
        new_id=lambda: "e1",
    )
    delivery = Delivery(source, 1, body)

    decision = decider.decide(delivery)

    assert decider.decide(delivery) == decision
    assert [agent.agent_id for agent in registry if agent.is_online] == ["bob"]
    assert registry["bob"].routed == 0
