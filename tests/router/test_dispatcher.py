import json
from typing import Any

import pytest
import structlog

from broker.amqp import DeadLetterAddress, Delivery, Refusals, Settlement
from broker.core.last_messages import LastMessages
from broker.core.messages import ServerAvailable
from broker.core.registry import AgentRegistry
from broker.core.routing.unanswered import Unanswered
from broker.router.answers import Answers
from broker.router.dispatcher import Dispatcher
from broker.router.rules import Limits, Routing
from broker.telemetry.tally import MessageOutcome, MessageTally
from tests.core.registries import apply, online, register, status_update
from tests.router.samples import AGENT_REGISTERED, QUEUES, chat

REGISTER_A = b'{"message_type":"REGISTER_AGENT","agent_id":"a"}'
DISCONNECT_A = b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"a"}'
SERVER_AVAILABLE = b'{"message_type":"SERVER_AVAILABLE","server_id":"s"}'


class Desk:
    """A dispatcher, its registry, and a note of everything it called."""

    def __init__(self, **broken: Any) -> None:
        self.registry = AgentRegistry(max_agents=5, origin="here")
        self.tally = MessageTally()
        self.registered = 0
        self.unknown: list[str] = []
        self.advertised: list[ServerAvailable] = []
        self.dispatcher = Dispatcher(
            topology=QUEUES,
            registry=self.registry,
            tally=self.tally,
            broker_id="broker_0001",
            limits=Limits(1000, max_agents=5, max_hops=2),
            refusals=Refusals(),
            agent_registered=self._agent_registered,
            **{
                "unknown_sender": self.unknown.append,
                "server_available": self.advertised.append,
                **broken,
            },
        )

    def _agent_registered(self) -> None:
        self.registered += 1

    def dispatch(self, queue: str, body: bytes, **properties: Any) -> Settlement:
        return self.dispatcher.dispatch(Delivery(queue, 1, body, **properties))

    def announced(self, queue: str, body: bytes) -> bytes:
        announcement = self.dispatch(queue, body).announcement
        assert announcement is not None
        return announcement.body


@pytest.fixture
def desk() -> Desk:
    return Desk()


def said(settlement: Settlement) -> dict[str, Any]:
    assert settlement.publishing is not None
    return dict(json.loads(settlement.publishing.body))


def test_each_message_sees_what_the_last_one_changed(desk: Desk) -> None:
    assert said(desk.dispatch("in", chat("stranger")))["reason"] == "no_agent_online"
    assert desk.unknown == ["stranger"]
    desk.dispatch("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"bob","agent_name":"Bob"}')
    assert (desk.registered, desk.registry["bob"].agent_name) == (1, "Bob")
    assert said(desk.dispatch("in", chat(message_id="m2", in_reply_to="m1")))["receiver_id"] == (
        "bob"
    )
    assert desk.registry["bob"].routed == 1
    letter = desk.dispatch("in", chat(message_id="m3", in_reply_to="m2"))
    assert letter.rejected == "too_many_hops"
    desk.dispatch("meta", b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"bob"}')
    assert "bob" in desk.registry
    assert online(desk.registry) == []
    desk.dispatch("advert", SERVER_AVAILABLE)
    assert desk.advertised == [ServerAvailable("s", None)]
    assert desk.registered == 1


def test_each_message_of_the_broker_has_an_id_of_its_own(desk: Desk) -> None:
    assert len({said(desk.dispatch("in", chat()))["message_id"] for _ in range(3)}) == 3


def test_what_another_broker_learned_counts_as_if_learned_here(desk: Desk) -> None:
    other = Desk()
    for queue, body in (
        ("meta", b'{"message_type":"REGISTER_AGENT","agent_id":"b","agent_name":"Bob"}'),
        ("meta", REGISTER_A),
        ("meta", DISCONNECT_A),
        ("advert", SERVER_AVAILABLE),
    ):
        announced = other.announced(queue, body)
        for _ in range(2):  # a repetition does no harm
            desk.dispatch("events", announced)
            other.dispatch("events", announced)

    for each in (desk, other):
        known = {agent.agent_id: agent.is_online for agent in each.registry}
        assert known == {"a": False, "b": True}
        assert each.registry["b"].agent_name == "Bob"
        assert each.advertised == [ServerAvailable("s", None)]
    assert desk.registered > 0


def test_its_own_announcements_that_come_back_count_as_nothing_received(desk: Desk) -> None:
    announced = desk.announced("meta", REGISTER_A)
    before = desk.tally.received.total()
    desk.dispatch("events", announced)
    assert desk.tally.received.total() == before
    assert desk.tally.outcomes[MessageOutcome.REPLICATED] == 0
    desk.dispatch("events", AGENT_REGISTERED)
    assert desk.tally.received["events", "REGISTRY_EVENT"] == 1
    assert desk.tally.outcomes[MessageOutcome.REPLICATED] == 1


def test_the_last_messages_of_known_agents_are_noted() -> None:
    last_messages = LastMessages(lambda: 1, lambda _: True)
    desk = Desk(last_messages=last_messages)
    register(desk.registry, "bob")
    last_messages.begin_batch(7.0)
    desk.dispatch("in", chat("stranger"))
    desk.dispatch("in", chat("bob"))
    assert last_messages.at("bob") == 7.0
    assert last_messages.at("stranger") is None


def test_each_announcement_is_later_than_the_last(desk: Desk) -> None:
    times = [
        json.loads(desk.announced(queue, body))["changed_at"]
        for queue, body in (
            ("meta", REGISTER_A),
            ("meta", DISCONNECT_A),
            *[("advert", SERVER_AVAILABLE)] * 2,
        )
    ]
    assert times == sorted(set(times))


def test_an_advertisement_of_before_does_not_replace_a_later_one(desk: Desk) -> None:
    event = b'{"message_type":"SERVER_ADVERTISED","server_id":"%d","changed_at":%d,"origin":"x"}'
    for number in (2, 1, 3):
        desk.dispatch("events", event % (number, number))
    assert [server.server_id for server in desk.advertised] == ["2", "3"]


def test_an_announced_agent_for_which_there_is_no_room_is_dropped(desk: Desk) -> None:
    apply(desk.registry, status_update("a1", "b", "c", "d", "e"))
    with structlog.testing.capture_logs() as lines:
        assert desk.dispatch("events", AGENT_REGISTERED).publishing is None
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "clock_skew",
        "registry_full",
    ]
    assert "a" not in desk.registry


def test_a_clock_skew_is_logged_once_in_a_while(desk: Desk) -> None:
    with structlog.testing.capture_logs() as lines:
        desk.dispatch("events", AGENT_REGISTERED)
        desk.dispatch("events", AGENT_REGISTERED)
    [line] = [line for line in lines if line["event"] == "clock_skew"]
    assert line["origin"] == "x"
    assert line["seconds"] > 1e9


@pytest.mark.parametrize(
    ("queue", "body"),
    [("no such queue", chat()), ("in", chat("stranger")), ("advert", SERVER_AVAILABLE)],
    ids=["deciding", "telling", "replicating"],
)
def test_a_message_the_broker_fails_on_is_dead_lettered(queue: str, body: bytes) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("a bug that says s3cr3t")

    desk = Desk(unknown_sender=fails, server_available=fails)
    with structlog.testing.capture_logs() as lines:
        settlement = desk.dispatch(queue, body)
    assert settlement.rejected == "internal_error"
    assert settlement.publishing is not None
    assert (settlement.publishing.queue, settlement.publishing.body) == ("dead", body)
    assert "s3cr3t" not in settlement.publishing.headers["x-broker-error"]
    [line] = [line for line in lines if line["event"] == "decision_failed"]
    assert (line["log_level"], line["queue"]) == ("error", queue)


def test_everything_carries_the_id_of_the_moment(desk: Desk) -> None:
    for broker_id in ("broker_0001", "named"):
        desk.dispatcher.decider.use_broker_id(broker_id)
        answer, letter = desk.dispatch("in", chat()), desk.dispatch("in", b"")
        assert answer.fallback == DeadLetterAddress("dead", broker_id)
        assert answer.publishing
        assert letter.publishing
        assert answer.publishing.app_id == letter.publishing.app_id == broker_id
        assert letter.publishing.headers["x-broker-id"] == broker_id


def test_no_log_line_carries_a_payload(desk: Desk) -> None:
    with structlog.testing.capture_logs() as lines:
        desk.dispatch("in", chat(text_payload="s3cr3t"))
        desk.dispatch("in", b'{"message_type": "TEXT", "sender_id": ["s3cr3t"]}')
        for body in (REGISTER_A, DISCONNECT_A):
            desk.dispatch("meta", body.replace(b"}", b',"x":"s3cr3t"}'))
    assert [line["event"] for line in lines] == ["agent_registered", "agent_disconnected"]
    assert "s3cr3t" not in repr(lines)


def test_everything_is_counted_by_what_it_was_and_what_came_of_it(desk: Desk) -> None:
    desk.dispatch("in", chat())
    register(desk.registry, "bob")
    desk.dispatch("in", chat(sender_id="bob"), redelivered=True)
    desk.dispatch("in", chat(message_type="REPLY"))
    desk.dispatch("in", chat(message_type="SYSTEM", required_capabilities=["sums"]))
    desk.dispatch("in", b'{"message_type":"ERROR"}')
    desk.dispatch("meta", REGISTER_A)
    desk.dispatch("meta", DISCONNECT_A)
    desk.dispatch("advert", SERVER_AVAILABLE)
    desk.dispatch("events", AGENT_REGISTERED)
    desk.dispatch("in", b"rubbish", redelivered=True)
    tally = desk.tally
    assert tally.received == {
        ("in", "TEXT"): 2,
        ("in", "REPLY"): 1,
        ("in", "SYSTEM"): 1,
        ("in", "ERROR"): 1,
        ("meta", "REGISTER_AGENT"): 1,
        ("meta", "CLIENT_DISCONNECTED"): 1,
        ("advert", "SERVER_AVAILABLE"): 1,
        ("events", "REGISTRY_EVENT"): 1,
        ("in", "unaccepted"): 1,
    }
    # Unless receivers are required, or messages held.
    never = {
        MessageOutcome.RECEIVER_OFFLINE,
        MessageOutcome.HELD,
        MessageOutcome.HELD_AGAIN,
    }
    assert tally.outcomes == {outcome: int(outcome not in never) for outcome in MessageOutcome}
    assert tally.redelivered == 2
    assert desk.registry["bob"].routed == 1


def answers_of(desk: Desk, answered: list[str]) -> Answers:
    return Answers(
        Unanswered(most=10, max_age=300.0),
        answered=lambda agent_id, _: answered.append(agent_id),
        given_up=lambda _: None,
        seconds=desk.tally.answer_seconds,
        clock=lambda: 0.0,
    )


def test_an_answer_is_known_to_the_broker_that_asked_whichever_gets_it() -> None:
    answered: dict[str, list[str]] = {"here": [], "there": []}
    desks: dict[str, Desk] = {}
    for origin, names in answered.items():
        desk = desks[origin] = Desk(
            answers=answers_of(Desk(), names), routing=Routing(follows_answers=True)
        )
        desk.registry.clock.origin = origin
        apply(desk.registry, status_update("alice", "bob"))
    here, there = desks["here"], desks["there"]

    assert said(here.dispatch("in", chat("alice", message_id="m1")))["receiver_id"] == "bob"
    told = there.dispatch("in", chat("bob", message_id="m2", in_reply_to="m1")).told
    assert told is not None
    assert told.exchange == "events"
    for desk in (here, there):
        heard = desk.dispatch("events", told.body)
        assert (heard.publishing, heard.rejected) == (None, None)

    assert answered == {"here": ["bob"], "there": []}
    # Nothing is told of what was answered where it was asked.
    assert here.dispatch("in", chat("alice", message_id="m3")).told is None
    assert here.dispatch("in", chat("bob", message_id="m4", in_reply_to="m3")).told is None
    assert answered["here"] == ["bob", "bob"]


def test_a_broker_that_follows_no_answers_takes_word_of_them(desk: Desk) -> None:
    event = (
        b'{"message_type":"ANSWERS_SEEN","answers":[["a","m1",0.5]],"changed_at":1,"origin":"x"}'
    )
    settlement = desk.dispatch("events", event)
    assert (settlement.publishing, settlement.rejected) == (None, None)
    assert desk.dispatch("in", chat(in_reply_to="m1")).told is None
