from typing import Any
from unittest.mock import ANY
from zlib import crc32

import pytest
from msgspec import structs

from broker.amqp import DeadLetterAddress, Delivery, Held, Publishing, Refusals, Settlement
from broker.core import codec
from broker.core.hops import Hop, HopCounter
from broker.core.messages import (
    Answer,
    ChatMessage,
    ClientDisconnected,
    RegisterAgent,
    RegistryEvent,
    Rejected,
    RejectReason,
    ServerAvailable,
)
from broker.core.registry import AgentRegistry
from broker.core.routing.failure import FailureReason
from broker.core.routing.receivers import ReceiverRule
from broker.core.versions import Version, VersionClock
from broker.router.decide import Decider
from broker.router.decision import Decision, settlement
from broker.router.holding import Holding
from broker.router.rules import AT_RANDOM, Limits, Routing, Topology
from broker.telemetry.tally import UNACCEPTED, MessageOutcome
from tests.core.registries import apply, disconnect, online, status_update
from tests.router.samples import AGENT_REGISTERED, QUEUES, chat

MAX_BYTES = 1000
SHARDED = structs.replace(QUEUES, inputs=("in-1", "in-2"), outputs=("out-1", "out-2", "out-3"))
REGISTER = b'{"message_type":"REGISTER_AGENT","agent_id":"a","agent_name":"Ada","_client_id":7}'
DISCONNECT = b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"bob"}'
ADVERTISE = b'{"message_type":"SERVER_AVAILABLE","server_id":"s","websocket_url":"ws://s/ws"}'
PROPERTIES: dict[str, Any] = {
    "headers": {"traceparent": "00-abc-def-01"},
    "correlation_id": "c",
    "priority": 7,
    "expiration": "60000",
}
ADDRESS = DeadLetterAddress("dead", "broker_0001")


class Desk:
    """A decider, and what it reads."""

    def __init__(
        self,
        *online: str,
        topology: Topology = QUEUES,
        max_hops: int = 0,
        routing: Routing = AT_RANDOM,
        holding: Holding | None = None,
    ) -> None:
        self.registry = AgentRegistry(max_agents=5)
        self.registry.clock = VersionClock("here", lambda: 1)
        apply(self.registry, status_update(*online))
        self.hops = HopCounter()
        self.refusals = Refusals()
        self.random = 0.0
        self.decider = Decider(
            topology=topology,
            registry=self.registry,
            hops=self.hops,
            broker_id="broker_0001",
            limits=Limits(MAX_BYTES, max_agents=5, max_hops=max_hops),
            refusals=self.refusals,
            routing=routing,
            holding=holding,
            random=lambda: self.random,
            new_id=lambda: "e1",
        )

    def decide(self, source: str, body: bytes, **properties: Any) -> Decision:
        return self.decider.decide(Delivery(source, 1, body, **properties))

    def reason(self, source: str, body: bytes, **properties: Any) -> RejectReason:
        decision = self.decide(source, body, **properties)
        assert isinstance(decision.verdict, Rejected)
        assert decision == Decision(UNACCEPTED, decision.verdict), "nothing is believed of it"
        return decision.verdict.reason


def to(queue: str, body: bytes, **properties: Any) -> Publishing:
    return Publishing(queue, body, "broker_0001", **properties)


def failure(body: bytes, reason: str) -> bytes:
    message = codec.decode_input(body, MAX_BYTES)
    assert isinstance(message, ChatMessage)
    return codec.encode_routing_failure(message, FailureReason(reason), "e1")


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
def test_a_chat_message_goes_to_somebody_else_with_what_may_pass(random: float) -> None:
    desk = Desk("alice", "bob")
    desk.random = random
    assert desk.decide("in", chat(_client_id="c1"), **PROPERTIES, message_id="m") == Decision(
        "TEXT",
        MessageOutcome.ROUTED,
        to("out", chat(receiver_id="bob"), **PROPERTIES),
        receiver_id="bob",
        sender_id="alice",
    )
    plain = desk.decide("in", chat()).publishing
    assert plain == to("out", chat(receiver_id="bob"))


@pytest.mark.parametrize(
    ("online", "reason"), [(["alice"], "only_sender_online"), ([], "no_agent_online")]
)
def test_nobody_to_route_to(online: list[str], reason: str) -> None:
    body = chat(_client_id="c1")
    expected = to(
        "out",
        failure(body, reason),
        headers=PROPERTIES["headers"],
        correlation_id="c",  # neither priority nor expiration
    )
    assert Desk(*online).decide("in", body, **PROPERTIES) == Decision(
        "TEXT", MessageOutcome(reason), expected, sender_id=online[0] if online else None
    )


@pytest.mark.parametrize("queue", SHARDED.inputs)
def test_all_messages_for_an_agent_go_to_one_of_several_queues(queue: str) -> None:
    agents = ("ann", "ben", "cho", "dan", "eve")
    desk = Desk(*agents, topology=SHARDED)
    seen: dict[str | None, str] = {}
    for place in range(5):
        desk.random = place / 5
        decision = desk.decide(queue, chat("nobody"))
        assert decision.publishing is not None
        seen[decision.receiver_id] = decision.publishing.queue
    # Any number that was not of these would break with what other versions do.
    assert seen == {name: SHARDED.outputs[crc32(name.encode()) % 3] for name in agents}
    assert set(seen.values()) == set(SHARDED.outputs)


def test_what_is_not_addressed_to_an_agent_goes_to_the_first_queue() -> None:
    desk = Desk(topology=SHARDED)
    for queue, body in (
        *((queue, chat()) for queue in SHARDED.inputs),
        ("in-2", b'{"message_type":"ERROR","receiver_id":"ann"}'),
        ("in-2", b'{"message_type":"ERROR","receiver_id":"cho"}'),
        ("meta", REGISTER),
    ):
        publishing = desk.decide(queue, body).publishing
        assert publishing is not None
        assert publishing.queue == "out-1"


@pytest.mark.parametrize("online", [[], ["alice"], ["alice", "bob"]])
def test_an_error_is_forwarded_byte_for_byte(online: list[str]) -> None:
    """Never routed, and never answered by another ERROR."""
    body = b'{ "message_type":"ERROR", "sender_id": "zoe", "n": 1e400, "n": 1234567890123456789 }'
    assert Desk(*online).decide("in", body, **PROPERTIES) == Decision(
        "ERROR", MessageOutcome.FORWARDED, to("out", body, **PROPERTIES)
    )


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        (chat("stranger"), "stranger"),
        (chat("alice"), None),
        (chat("offline"), None),
        (chat("stranger", _client_id="c1"), None),
        (chat("stranger", _client_id=None), None),
        (chat("unknown"), None),
        (chat(None), None),
    ],
)
def test_unknown_agents_are_noticed_and_nobody_else(body: bytes, unknown: str | None) -> None:
    desk = Desk("alice", "offline")
    disconnect(desk.registry, "offline")
    assert desk.decide("in", body).unknown_sender == unknown


@pytest.mark.parametrize(
    ("queue", "body", "sender_id"),
    [
        ("in", chat("alice"), "alice"),
        ("in", chat("offline"), "offline"),
        ("in", chat("stranger"), None),
        ("in", chat(None), None),
        ("in", b'{"message_type":"ERROR","sender_id":"alice"}', "alice"),
        ("in", b'{"message_type":"ERROR","sender_id":"stranger"}', None),
        ("in", b'{"message_type":"ERROR"}', None),
        (QUEUES.held, chat("alice"), None),  # it was received before
    ],
)
def test_a_message_counts_as_a_word_of_its_sender_once(
    queue: str, body: bytes, sender_id: str | None
) -> None:
    desk = Desk("alice", "bob", "offline")
    disconnect(desk.registry, "offline")
    assert desk.decide(queue, body, held=Held(2, 1, "")).sender_id == sender_id


# Whom a message is for, what it requires, and what a policy says


def test_a_receiver_counts_as_far_as_the_rule_says() -> None:
    body = chat("x", receiver_id="bob", _target_agent_id="bob")
    outcomes = {}
    for rule in ReceiverRule:
        for present in (("alice", "bob"), ("alice",)):
            desk = Desk(*present, routing=Routing(receiver=rule))
            decision = desk.decide("in", body)
            outcomes[rule.value, len(present)] = decision.receiver_id or decision.verdict
    assert outcomes == {
        ("ignore", 2): "alice",
        ("ignore", 1): "alice",
        ("prefer", 2): "bob",
        ("prefer", 1): "alice",
        ("require", 2): "bob",
        ("require", 1): MessageOutcome.RECEIVER_OFFLINE,
    }


def test_nobody_receives_a_message_who_cannot_do_what_it_requires() -> None:
    desk = Desk("alice", "bob", "carol")
    for agent_id, capabilities in (("bob", ("sums", "tables")), ("carol", ("sums",))):
        desk.registry.register(agent_id, "", desk.registry.clock.next(), capabilities)
    body = chat("alice", required_capabilities=["tables", "sums", "tables"])
    decision = desk.decide("in", body)
    assert decision.receiver_id == "bob"
    assert decision.publishing == to("out", body[:-1] + b',"receiver_id":"bob"}'), "it stays in it"
    body = chat("alice", required_capabilities=["sums", "poems"])
    decision = desk.decide("in", body)
    assert decision == Decision(
        "TEXT",
        MessageOutcome.NO_CAPABLE_AGENT,
        to("out", failure(body, "no_capable_agent")),
        sender_id="alice",
    )


def test_a_message_that_a_policy_fails_on_is_dead_lettered() -> None:
    why = Rejected(RejectReason.POLICY_ERROR, "the routing policy failed")
    desk = Desk("alice", "bob", max_hops=2, routing=Routing(lambda *_: why, follows_answers=True))
    decision = desk.decide("in", chat(in_reply_to="m0"))
    # That it is an answer, and one of a row, is true whatever becomes of it.
    assert decision == Decision(
        UNACCEPTED, why, sender_id="alice", hop=Hop(1, "m1"), answer=Answer("alice", "m0")
    )
    assert Desk("alice", routing=Routing(lambda *_: why)).decide("in", chat()).verdict is (
        MessageOutcome.ONLY_SENDER_ONLINE
    ), "it is not asked"


# What asks, and what answers

FOLLOWING = Routing(follows_answers=True)
LONG_ID = "m" * 256


@pytest.mark.parametrize(
    ("body", "asks", "answers"),
    [
        (chat(), "m1", None),
        (chat(message_type="SYSTEM"), "m1", None),
        (chat(message_id=""), None, None),
        (chat(message_id=LONG_ID), None, None),
        (chat(message_id=LONG_ID[1:]), LONG_ID[1:], None),
        (chat(in_reply_to_message_id="m0"), None, "m0"),
        (chat(in_reply_to="m0"), None, "m0"),
        (chat(in_reply_to_message_id="m0", in_reply_to="m9"), None, "m0"),
        (chat(in_reply_to_message_id="", in_reply_to=""), "m1", None),
        (chat(in_reply_to=LONG_ID), None, None),
        (chat("stranger", in_reply_to="m0"), None, None),
        (chat(None, in_reply_to="m0"), None, None),
        (chat(message_type="ERROR", in_reply_to_message_id="m0"), None, "m0"),
        (chat(message_type="ERROR", in_reply_to="m0"), None, "m0"),
        (chat(message_type="ERROR", in_reply_to=["m0"]), None, None),
        (chat(message_type="ERROR"), None, None),
        (b'{"message_type":"ERROR","in_reply_to":"m0"}', None, None),
    ],
)
def test_what_answers_a_message_asks_for_nothing(
    body: bytes, asks: str | None, answers: str | None
) -> None:
    decision = Desk("alice", "bob", routing=FOLLOWING).decide("in", body)
    assert decision.asks == asks
    assert decision.answer == (None if answers is None else Answer("alice", answers))
    unfollowed = Desk("alice", "bob").decide("in", body)
    assert (unfollowed.asks, unfollowed.answer) == (None, None), "nobody wants to know"
    assert unfollowed.publishing == decision.publishing


def test_an_answer_that_is_held_counts_once_as_it_comes() -> None:
    desk = Desk("alice", routing=FOLLOWING, holding=Holding(30, lambda: 1_000))
    answer = chat(in_reply_to="m0")
    held = desk.decide("in", answer)
    assert held.verdict is MessageOutcome.HELD
    assert held.answer == Answer("alice", "m0")
    again = desk.decide(QUEUES.held, answer, held=held.held)
    assert again.verdict is MessageOutcome.HELD_AGAIN
    assert again.answer is None
    apply(desk.registry, status_update("alice", "bob"))
    routed = desk.decide(QUEUES.held, answer, held=held.held)
    assert routed.receiver_id == "bob"
    assert routed.answer is None


def test_an_answer_counts_though_nobody_can_receive_it() -> None:
    desk = Desk("alice", max_hops=1, routing=FOLLOWING)
    failed = desk.decide("in", chat(message_id="m1", in_reply_to="m0"))
    assert failed.verdict is MessageOutcome.ONLY_SENDER_ONLINE
    assert failed.answer == Answer("alice", "m0")
    assert failed.hop is not None
    desk.hops.remember(failed.hop)
    too_many = desk.decide("in", chat(message_id="m2", in_reply_to="m1"))
    assert isinstance(too_many.verdict, Rejected)
    assert too_many.answer == Answer("alice", "m1")
    desk.refusals.max_message_size = 10
    too_large = desk.decide("in", chat(message_id="m3", in_reply_to="m0"))
    assert isinstance(too_large.verdict, Rejected)
    assert too_large.answer == Answer("alice", "m0")


def test_an_agent_that_is_offline_still_answers() -> None:
    desk = Desk("alice", "bob", routing=FOLLOWING)
    disconnect(desk.registry, "alice")
    assert desk.decide("in", chat(in_reply_to="m0")).answer == Answer("alice", "m0")


# What changes the registry


def learned(desk: Desk, change: RegisterAgent | ClientDisconnected | ServerAvailable) -> Any:
    """Return the fields of a decision by which other brokers learn of a change."""
    event = RegistryEvent(change, desk.registry.clock.upcoming())
    body = codec.encode_registry_event(event)
    return {"announcement": to("", body, exchange="events"), "event": event}


def test_a_registration_is_answered_and_announced() -> None:
    desk = Desk()
    message = codec.decode_metadata(REGISTER, MAX_BYTES)
    assert isinstance(message, RegisterAgent)
    response = to(
        "out",
        codec.encode_register_response(message),
        headers=PROPERTIES["headers"],
        correlation_id="c",
    )
    assert desk.decide("meta", REGISTER, **PROPERTIES) == Decision(
        "REGISTER_AGENT", MessageOutcome.REGISTERED, response, **learned(desk, message)
    )


def test_disconnections_and_advertisements_are_only_announced() -> None:
    desk = Desk("bob")
    assert desk.decide("meta", DISCONNECT) == Decision(
        "CLIENT_DISCONNECTED",
        MessageOutcome.DISCONNECTED,
        **learned(desk, ClientDisconnected("bob")),
    )
    assert desk.decide("advert", ADVERTISE) == Decision(
        "SERVER_AVAILABLE",
        MessageOutcome.ADVERTISED,
        **learned(desk, ServerAvailable("s", "ws://s/ws")),
    )


def test_what_another_broker_announces_is_not_announced_again() -> None:
    assert Desk().decide("events", AGENT_REGISTERED) == Decision(
        "REGISTRY_EVENT",
        MessageOutcome.REPLICATED,
        event=RegistryEvent(RegisterAgent("a", "A"), Version(1_000_000, "x")),
    )


def test_when_there_is_no_room_a_registration_is_dead_lettered() -> None:
    desk = Desk("b", "c", "d", "e", "f")
    assert desk.reason("meta", REGISTER) is RejectReason.REGISTRY_FULL
    disconnect(desk.registry, "f")
    assert desk.decide("meta", REGISTER).verdict is MessageOutcome.REGISTERED


# Rows of answers


def test_a_row_of_answers_ends_where_the_limit_says() -> None:
    desk = Desk("alice", "bob", max_hops=2)
    for number in (1, 2):
        decision = desk.decide("in", chat(message_id=f"m{number}", in_reply_to=f"m{number - 1}"))
        assert decision.hop == Hop(number, f"m{number}")
        assert decision.receiver_id == "bob"
        desk.hops.remember(decision.hop)
    decision = desk.decide("in", chat(message_id="m3", in_reply_to_message_id="m2"))
    assert decision == Decision(
        UNACCEPTED,
        Rejected(RejectReason.TOO_MANY_HOPS, ANY),
        sender_id="alice",
        hop=Hop(3, "m3"),
    )
    assert desk.decide("in", chat(message_id="m4")).receiver_id == "bob"


def test_without_a_limit_no_row_of_answers_is_counted() -> None:
    assert Desk("alice", "bob").decide("in", chat(message_id="m2", in_reply_to="m1")).hop is None


# What is dead-lettered


@pytest.mark.parametrize("queue", ["in", "meta", "advert", "events"])
def test_what_cannot_be_decoded_is_dead_lettered(queue: str) -> None:
    assert Desk().reason(queue, b"[]") is RejectReason.NOT_AN_OBJECT
    assert Desk().reason(queue, b" " * (MAX_BYTES + 1)) is RejectReason.TOO_LARGE


@pytest.mark.parametrize("queue", ["in", "meta", "advert", "events"])
def test_types_of_other_queues_are_dead_lettered(queue: str) -> None:
    accepted = {"in": chat(), "meta": REGISTER, "advert": ADVERTISE, "events": AGENT_REGISTERED}
    for other, body in accepted.items():
        if other == queue:
            assert not isinstance(Desk().decide(queue, body).verdict, Rejected)
        else:
            assert Desk().reason(queue, body) is RejectReason.UNSUPPORTED_MESSAGE_TYPE


def test_invalid_properties_are_dead_lettered_however_sound_the_body() -> None:
    error = "the timestamp is absurd"
    assert Desk("bob").decide("in", chat("stranger"), properties_error=error) == Decision(
        UNACCEPTED, Rejected(RejectReason.INVALID_PROPERTIES, error)
    )


def test_what_a_full_quorum_queue_has_had_back_too_often_is_dead_lettered() -> None:
    """It is published anew at its second return, unless its queue refuses that."""
    desk = Desk("bob")
    assert desk.decide("in", chat(), delivery_count=9).receiver_id == "bob"
    assert desk.reason("in", chat(), delivery_count=10) is RejectReason.INTERNAL_ERROR


def test_what_routing_makes_too_large_for_rabbitmq_is_dead_lettered() -> None:
    desk = Desk("bob", max_hops=9)
    size = len(chat("stranger", receiver_id="bob"))
    desk.refusals.max_message_size = size
    assert desk.decide("in", chat("stranger")).receiver_id == "bob"
    desk.refusals.max_message_size -= 1
    error = f"to be published it needs {size} bytes, and RabbitMQ takes {size - 1}"
    assert desk.decide("in", chat("stranger")) == Decision(
        UNACCEPTED,
        Rejected(RejectReason.TOO_LARGE, error),
        unknown_sender="stranger",
        hop=Hop(1, "m1"),
    )


def test_a_registration_whose_answer_is_too_large_registers_nobody() -> None:
    desk = Desk()
    desk.refusals.max_message_size = 50
    assert desk.reason("meta", REGISTER) is RejectReason.TOO_LARGE


# Purity


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("in", chat("stranger", in_reply_to="m0")),
        ("in", b"{"),
        ("meta", REGISTER),
        ("meta", DISCONNECT),
        ("advert", ADVERTISE),
        ("events", AGENT_REGISTERED),
    ],
)
def test_a_decision_changes_nothing_and_can_be_replayed(source: str, body: bytes) -> None:
    desk = Desk("bob", max_hops=2)
    assert desk.decide(source, body) == desk.decide(source, body)
    assert online(desk.registry) == ["bob"]
    assert desk.registry["bob"].routed == 0


# What carries a decision out


def test_what_rabbitmq_does_not_take_falls_back_to_the_dead_letter_queue() -> None:
    delivery, publishing, announcement = Delivery("in", 1, b""), to("out", b"1"), to("", b"2")
    decision = Decision("TEXT", MessageOutcome.ROUTED, publishing, announcement)
    assert settlement(delivery, decision, ADDRESS) == Settlement(
        delivery, publishing, fallback=ADDRESS, announcement=announcement
    )


def test_a_delivery_of_which_nothing_is_published_needs_no_fallback() -> None:
    delivery = Delivery("events", 1, b"")
    decision = Decision("REGISTRY_EVENT", MessageOutcome.REPLICATED)
    assert settlement(delivery, decision, ADDRESS) == Settlement(delivery)


def test_a_dead_letter_says_why_and_has_nothing_to_fall_back_to() -> None:
    headers = PROPERTIES["headers"]
    delivery = Delivery("in", 1, b"[", headers=headers, correlation_id="c")
    decision = Decision(UNACCEPTED, Rejected(RejectReason.INVALID_JSON, "truncated"))
    letter = to(
        "dead",
        b"[",
        headers={
            **headers,
            "x-broker-reason": "invalid_json",
            "x-broker-error": "truncated",
            "x-original-queue": "in",
            "x-broker-id": "broker_0001",
            "x-dead-lettered-at": ANY,
        },
        correlation_id="c",
        kept=ANY,
    )
    assert settlement(delivery, decision, ADDRESS) == Settlement(delivery, letter, "invalid_json")
