"""Agents, the central server's queues and the conversation, with a small broker in this process."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
import trio

from broker.amqp import (
    AmqpEndpoint,
    Delivery,
    Publishing,
    Session,
    SessionParameters,
    dead_letter,
    open_rabbit,
)
from broker.concurrency.wakeup import Wakeup
from broker.core import codec
from broker.core.messages import ChatMessage, ClientDisconnected, RegisterAgent, Rejected
from broker.core.routing.failure import FailureReason
from broker.sandbox.accounting import Ledger
from broker.sandbox.agents import Agent, agent_names
from broker.sandbox.central_server import CentralServer, open_central_server
from broker.sandbox.conversation import Conversation
from broker.sandbox.desk import Desk
from broker.sandbox.feed import NotRouted, Routed
from broker.sandbox.outbox import Outbox
from broker.sandbox.output_reader import OutputReader
from broker.sandbox.presence import Presence
from broker.sandbox.server_queues import (
    ADVERTISEMENT_QUEUE,
    DEAD_LETTER_QUEUE,
    INPUT_QUEUE,
    METADATA_QUEUE,
    OUTPUT_QUEUE,
    QUEUES,
    UNKNOWN_QUEUE,
    FromBroker,
    advertisement,
    agent_queue,
    answering,
    relay,
)
from broker.sandbox.summary import problems
from broker.sandbox.traffic import Traffic, chat_message
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.sandbox.processes import PATIENCE

MAX_BYTES = 1_000_000

type Decide = Callable[[Delivery], Publishing | None]


class World:
    """Everything around a broker, and a broker that decides as the test wants."""

    def __init__(
        self, session: Session, *, messages: int | None, malformed: float, desk: Desk | None
    ) -> None:
        self.session = session
        self.ledger = Ledger()
        self.progress = Wakeup()
        self.traffic = Traffic(self.ledger, Random(1), messages=messages, malformed=malformed)
        self.outbox = Outbox()
        self.agents = [
            Agent(name, self.ledger, self.traffic, self.outbox, self.progress.set)
            for name in agent_names(4)
        ]
        self.agents[1] = replace(self.agents[1], desk=desk)
        ids = {agent.agent_id for agent in self.agents}
        self.output_reader = OutputReader(self.ledger, ids, self.progress.set)
        self.online: list[str] = []
        self.presence: Presence
        self.conversation: Conversation

    def route(self, delivery: Delivery) -> Publishing | None:
        """Do what the broker does, by another way."""
        message = codec.decode_input(delivery.body, MAX_BYTES)
        if isinstance(message, Rejected):
            return dead_letter(
                delivery, queue=DEAD_LETTER_QUEUE, reason="", error="", broker_id="b"
            )
        assert isinstance(message, ChatMessage)
        others = [agent_id for agent_id in self.online if agent_id != message.sender_id]
        if others:
            body = codec.encode_routed(message, others[delivery.tag % len(others)])
        else:
            body = codec.encode_routing_failure(message, FailureReason.NO_AGENT_ONLINE, "e")
        return Publishing(OUTPUT_QUEUE, body, "b")

    def learn(self, delivery: Delivery) -> Publishing | None:
        """Take note of who comes and goes."""
        match codec.decode_metadata(delivery.body, MAX_BYTES):
            case RegisterAgent() as message:
                self.online.append(message.agent_id)
                return Publishing(OUTPUT_QUEUE, codec.encode_register_response(message), "b")
            case ClientDisconnected(agent_id=agent_id):
                self.online.remove(agent_id)
                return None
            case unexpected:
                raise AssertionError(unexpected)


async def take(session: Session, queue: str, number: int) -> list[Delivery]:
    """Take so many messages from a queue."""
    taken: list[Delivery] = []
    enough = trio.Event()

    def decide(delivery: Delivery) -> None:
        taken.append(delivery)
        if len(taken) >= number:
            enough.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(session.consume, queue, answering(decide))
        await enough.wait()
        nursery.cancel_scope.cancel()
    return taken


@pytest.fixture
async def session(rabbitmq: RabbitmqNode) -> AsyncIterator[Session]:
    endpoint = AmqpEndpoint(rabbitmq.host, rabbitmq.port, "guest", "guest", vhost="/", tls=False)
    queues = (*QUEUES, *(agent_queue(name.lower()) for name in agent_names(4)))
    with trio.fail_after(PATIENCE):
        parameters = SessionParameters(endpoint, "test", queues)
        async with open_rabbit() as rabbit, rabbit.open_session(parameters) as session:
            yield session


@asynccontextmanager
async def open_world(
    session: Session,
    *,
    messages: int | None = None,
    malformed: float = 0,
    decide: Decide | None = None,
    desk: Desk | None = None,
) -> AsyncIterator[World]:
    """Run a world. Bob is slow if there is a desk."""
    world = World(session, messages=messages, malformed=malformed, desk=desk)
    async with open_central_server(CentralServer) as server, trio.open_nursery() as nursery:
        world.presence = Presence(
            world.agents, server=server, outbox=world.outbox, random=Random(2)
        )
        world.conversation = Conversation(
            world.outbox,
            presence=world.presence,
            traffic=world.traffic,
            ledger=world.ledger,
            progress=world.progress,
            random=Random(3),
        )
        nursery.start_soon(world.outbox.run, session)
        await nursery.start(relay, session, world.output_reader.notice)
        await nursery.start(world.output_reader.read_dead_letters, session)
        await nursery.start(session.consume, INPUT_QUEUE, answering(decide or world.route))
        await nursery.start(session.consume, METADATA_QUEUE, answering(world.learn))
        for agent in world.agents:
            nursery.start_soon(agent.run, session)
        world.presence.come_all()
        while len(world.output_reader.registered) < len(world.agents):
            await world.progress.wait()
        yield world
        assert {agent_id: status.is_online for agent_id, status in server.agents.items()} == {
            agent.agent_id: agent.online.is_open for agent in world.agents
        }
        await world.outbox.flush()
        nursery.cancel_scope.cancel()


async def test_an_exchange_is_exact_and_accounted_for(session: Session) -> None:
    async with open_world(session, messages=300, malformed=10) as world:
        await world.conversation.exchange(300)

        ledger = world.ledger
        assert ledger.missing() == ledger.unexpected == []
        assert (ledger.sent, ledger.malformed, ledger.dead_lettered) == (300, 30, 30)
        assert ledger.delivered + ledger.failed == 270
        assert ledger.received_by.total() == ledger.delivered
        assert len(world.presence.online) == 4


async def test_a_short_exchange_wakes_those_for_whom_mail_waits(session: Session) -> None:
    async with open_world(session, messages=4) as world:
        world.presence.go(world.agents[0])
        waiting = world.agents[1].text()
        assert waiting is not None
        message_id = json.loads(waiting.body)["message_id"]
        world.ledger.record_routed(message_id, world.agents[0].agent_id)
        await session.publish([Publishing(world.agents[0].queue, waiting.body, "test")])

        await world.conversation.exchange(4)

        assert not [*problems(world.ledger)]
        assert world.ledger.sent == 4


@pytest.mark.parametrize("messages", [1, 5, 50])
async def test_lost_messages_are_missing(session: Session, messages: int) -> None:
    async with open_world(session, messages=messages, decide=lambda _: None) as world:
        world.conversation.lull = world.conversation.patience = 0.05
        await world.conversation.exchange(messages)

        assert [*problems(world.ledger)]
        assert len(world.ledger.missing()) == world.ledger.sent > 0


async def test_a_hopeless_exchange_ends_at_once(session: Session) -> None:
    async with open_world(session, messages=50, decide=lambda _: None) as world:
        world.conversation.patience = 10 * PATIENCE
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.conversation.exchange, 50)
            await until_sent(world, 1)
            world.conversation.give_up()
        assert world.ledger.missing()


async def until_sent(world: World, sent: int) -> None:
    while world.ledger.sent < sent:
        await trio.sleep(0.01)


async def test_a_conversation_goes_on_until_it_is_stopped(session: Session) -> None:
    async with open_world(session) as world:
        world.conversation.pause, world.conversation.change_probability = 0.001, 0.5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.conversation.converse)
            await until_sent(world, 100)
            world.conversation.stop()
        assert world.ledger.sent >= 100
        assert not [*problems(world.ledger)]


async def test_all_but_one_may_leave(session: Session) -> None:
    async with open_world(session) as world:
        world.presence.leave_one()
        [stays] = world.presence.online
        assert len(world.presence.offline) == 3

        world.presence.change(staying=1)
        assert stays in world.presence.online
        assert len(world.presence.online) == 2

        world.presence.change(staying=4)
        world.presence.change(staying=4)
        assert world.presence.offline == []
        world.presence.change(staying=4)
        assert world.presence.offline == []


async def test_an_agent_answers_a_text_once_and_nothing_else(session: Session) -> None:
    answered: list[Delivery] = []
    async with open_world(session, decide=answered.append) as world:
        alice, bob = world.agents[:2]
        text = world.traffic.text("alice") or b""
        reply = world.traffic.reply("alice", "m") or b""
        for body in (text, reply):
            world.ledger.record_routed(json.loads(body)["message_id"], "bob")
        await session.publish(
            [Publishing(bob.queue, body, "test") for body in (text, text, reply, b"{")]
        )
        while not (world.ledger.received_by["bob"] == 3 and world.ledger.unexpected and answered):
            await trio.sleep(0.01)

        [answer] = (json.loads(delivery.body) for delivery in answered)
        assert answer["message_type"] == "REPLY"
        assert answer["sender_id"] == "bob"
        assert answer["in_reply_to_message_id"] == json.loads(text)["message_id"]
        assert world.ledger.unexpected == ["bob received what is no chat message"]
        assert world.ledger.duplicates == 1
        assert alice.agent_name == "Alice"


async def test_a_slow_agent_works_on_one_text_after_the_other(session: Session) -> None:
    answered: list[Delivery] = []
    desk = Desk(lambda: 10 * PATIENCE)
    async with open_world(session, decide=answered.append, desk=desk) as world:
        bob = world.agents[1]
        texts = [world.traffic.text("alice") or b"" for _ in range(3)]
        reply = world.traffic.reply("alice", "m") or b""
        for body in (*texts, reply):
            world.ledger.record_routed(json.loads(body)["message_id"], "bob")
        await session.publish([Publishing(bob.queue, body, "test") for body in (*texts, reply)])
        # A REPLY takes no work, even when it comes last.
        while world.ledger.received_by["bob"] < 1:
            await trio.sleep(0.01)
        assert world.ledger.ahead_of == {"bob": 3}
        assert answered == []

        # Whoever leaves answers before.
        world.presence.go(bob)
        while len(answered) < 3:
            await trio.sleep(0.01)
        assert world.ledger.ahead_of["bob"] == 0
        replies = [json.loads(delivery.body)["in_reply_to_message_id"] for delivery in answered]
        assert replies == [json.loads(body)["message_id"] for body in texts]


async def test_an_exchange_with_a_slow_agent_is_exact(session: Session) -> None:
    async with open_world(session, messages=100, desk=Desk(lambda: 0.01)) as world:
        await world.conversation.exchange(100)
        assert not [*problems(world.ledger)]
        assert (world.ledger.sent, world.ledger.ahead_of.total()) == (100, 0)


@pytest.mark.parametrize(
    "body", [b"{", b'{"message_type": "WHAT"}', b'{"message_type": "TEXT"}', b"[1]", b"\xff"]
)
async def test_the_server_keeps_what_it_does_not_know(session: Session, body: bytes) -> None:
    noticed: list[FromBroker] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(relay, session, noticed.append)
        await session.publish([Publishing(OUTPUT_QUEUE, body, "test")])
        [kept] = await take(session, UNKNOWN_QUEUE, 1)
        nursery.cancel_scope.cancel()
    assert kept.body == body
    assert len(noticed) == 1


async def test_the_server_advertises_itself(session: Session) -> None:
    await session.publish([advertisement("ws://127.0.0.1:1/ws")])
    [delivery] = await take(session, ADVERTISEMENT_QUEUE, 1)
    message = codec.decode_advertisement(delivery.body, MAX_BYTES)
    assert not isinstance(message, Rejected)
    assert message.websocket_url == "ws://127.0.0.1:1/ws"


async def test_unexpected_output_and_dead_letters_are_entered(session: Session) -> None:
    async with open_world(session) as world:
        world.output_reader.notice(FromBroker())
        own = b'{"message_type": "TEXT", "message_id": "message-7"'
        letters = [Publishing(DEAD_LETTER_QUEUE, body, "test") for body in (b"{}", b"[", own)]
        await session.publish(letters)
        while world.ledger.dead_lettered < 2 or world.ledger.unexpected_count < 2:
            await world.progress.wait()
    assert world.ledger.unexpected == [
        "the broker put out a message of type None",
        "message-7 was dead-lettered, but nobody sent it",
    ]
    assert (world.ledger.sent, world.ledger.guests) == (2, 2)


async def test_messages_and_agents_from_outside_are_accounted_for(session: Session) -> None:
    """As soon as one comes out, it has been sent; who is a stranger has received it then."""
    async with open_world(session) as world:
        body = chat_message("TEXT", "from-outside", "visitor", "hello \N{WAVING HAND SIGN}", None)
        await session.publish([Publishing(INPUT_QUEUE, body, "test")])
        while not (world.ledger.guests and world.ledger.open == 0 and world.ledger.sent > 1):
            await world.progress.wait()
        world.output_reader.notice(
            FromBroker("TEXT", "another", "visitor", "stranger", "for you", None)
        )
        error = FromBroker("ERROR", "e", original_message_id="third", original_sender_id=7)
        world.output_reader.notice(error)
        assert [*problems(world.ledger)] == []
    entries = list(world.ledger.feed.entries)
    assert entries[0][0] == "visitor"
    assert entries[0][2:] == ("TEXT", "hello \N{WAVING HAND SIGN}")
    assert Routed("visitor", "stranger", "TEXT", "for you") in entries
    assert NotRouted("unknown", "", "", is_dead_letter=False) in entries


HOSTILE_IDS = [
    "evil\N{RIGHT-TO-LEFT OVERRIDE}",
    "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}",
    "\N{COLLISION SYMBOL}" * 100,
    "x" * 250,
    "a\nb",
    "\ud83d",
    "../../*",
]


async def test_an_agent_that_can_have_no_queue_stops_nobody_else(session: Session) -> None:
    text = {"message_type": "TEXT", "message_id": "m", "sender_id": "s", "text_payload": "t"}
    bodies = [
        json.dumps({**text, "receiver_id": agent_id}).encode()
        for agent_id in (*HOSTILE_IDS, "alice")
    ]
    noticed: list[FromBroker] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(relay, session, noticed.append)
        await session.publish([Publishing(OUTPUT_QUEUE, body, "test") for body in bodies])
        [delivered] = await take(session, agent_queue("alice"), 1)
        kept = await take(session, UNKNOWN_QUEUE, len(HOSTILE_IDS))
        nursery.cancel_scope.cancel()
    assert delivered.body == bodies[-1]
    assert [one.body for one in kept] == bodies[:-1]
    assert all(message.is_routed for message in noticed)


def test_queues_of_agents() -> None:
    assert agent_queue("alice-2.b:c@d") == "agent_queue_alice-2.b:c@d"
    assert agent_queue("x" * 243) == f"agent_queue_{'x' * 243}"
    assert agent_queue("x" * 244) == UNKNOWN_QUEUE


@pytest.mark.parametrize("number", [1, 26, 27, 100])
def test_names_are_many_and_differ(number: int) -> None:
    names: Sequence[str] = agent_names(number)
    assert len(names) == len(set(names)) == number
    assert names[0] == "Alice"
