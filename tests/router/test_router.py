import json
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from broker.amqp import Deliveries, Delivery, Refusals, Settlement
from broker.concurrency.wakeup import Gate
from broker.core.agent import Agent
from broker.core.messages import (
    AgentStatus,
    BrokerRegistered,
    ChatMessage,
    RejectReason,
    ServerAvailable,
    ServerLost,
    ServerNews,
    StatusUpdate,
)
from broker.core.routing.agents import Agents
from broker.core.routing.receivers import ReceiverRule
from broker.router.choosing import AT_RANDOM, RoutingOptions
from broker.router.explanation import Explanation, Filter
from broker.router.mailbox import Mailbox
from broker.router.rules import Limits
from broker.router.task import Router
from broker.telemetry.tally import MessageTally
from tests.lab.autojump import autojump
from tests.router import samples

TTL = 60.0
NOBODY = [Filter("online", 0), Filter("not_sender", 0)]
QUEUES = msgspec.structs.replace(samples.QUEUES, inputs=("in", "in-2"))


class Rig:
    """A running router, and all that it told others."""

    def __init__(self, mailbox: Mailbox, gate: Gate) -> None:
        self.mailbox = mailbox
        self.gate = gate
        self.batches: list[Sequence[Settlement]] = []
        self.fails = False
        self.tally = MessageTally()
        self.router: Router

    def want_status(self) -> None:
        if self.fails:
            raise RuntimeError("a bug")

    def status_answered(self) -> None:
        pass

    def server_available(self, advertisement: ServerAvailable) -> None:
        pass

    async def deliver(self, queue: str, *bodies: bytes) -> Sequence[Settlement]:
        """Deliver bodies in one batch, and return what came of them."""
        before = len(self.batches)
        deliveries = [Delivery(queue, tag, body) for tag, body in enumerate(bodies, start=1)]
        self.mailbox.deliver(Deliveries(queue, deliveries, self.batches.append))
        await wait_all_tasks_blocked()
        assert len(self.batches) == before + 1, "a batch is settled once"
        return self.batches[-1]

    async def hear(self, *server_news: ServerNews) -> None:
        """Let the router hear from the central server, and deal with it."""
        for news in server_news:
            await self.mailbox.send_news.send(news)
        await wait_all_tasks_blocked()

    async def receivers(self, *senders: str) -> list[str]:
        settlements = await self.deliver("in", *map(chat, senders))
        return [str(said(settlement).get("receiver_id")) for settlement in settlements]

    async def gate_turns(self) -> float:
        """Wait until the gate turns, and return the seconds it took."""
        started = trio.current_time()
        with trio.fail_after(1000):
            await (self.gate.closed() if self.gate.is_open else self.gate.opened())
        return trio.current_time() - started


@asynccontextmanager
async def running(
    registry_ttl: float = TTL, max_agents: int = 100_000, routing: RoutingOptions = AT_RANDOM
) -> AsyncIterator[Rig]:
    rig = Rig(Mailbox(QUEUES.inputs), Gate())
    router = Router(
        topology=QUEUES,
        broker_id="broker_0001",
        limits=Limits(max_message_bytes=1000, max_agents=max_agents),
        refusals=Refusals(),
        tally=rig.tally,
        registry_ttl=registry_ttl,
        consumption=rig.gate,
        central=rig,
        routing=routing,
    )
    rig.router = router
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.run, rig.mailbox)
        yield rig
        nursery.cancel_scope.cancel()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running() as rig:
        yield rig


def chat(sender_id: str = "nobody", **fields: Any) -> bytes:
    return json.dumps({"message_type": "TEXT", "sender_id": sender_id} | fields).encode()


def said(settlement: Settlement) -> dict[str, Any]:
    assert settlement.publishing is not None
    value = json.loads(settlement.publishing.body)
    assert isinstance(value, dict)
    return value


def register(agent_id: str) -> bytes:
    return json.dumps({"message_type": "REGISTER_AGENT", "agent_id": agent_id}).encode()


def update(*online: str, offline: Iterable[str] = (), full: bool = False) -> StatusUpdate:
    agents = {name: AgentStatus(name, is_online=True) for name in online}
    agents |= {name: AgentStatus(name) for name in offline}
    return StatusUpdate(agents, is_full=full)


@autojump
async def test_a_batch_is_settled_once_and_in_order(rig: Rig) -> None:
    await rig.hear(update("bob"))
    bodies = [chat("bob"), b"rubbish", chat("alice"), b'{"message_type":"ERROR"}', chat("bob")]
    settlements = await rig.deliver("in", *bodies)
    assert [settlement.delivery.tag for settlement in settlements] == [1, 2, 3, 4, 5]
    queues = [settlement.publishing and settlement.publishing.queue for settlement in settlements]
    assert queues == ["out", "dead", "out", "out", "out"]
    assert [said(settlements[i]).get("reason") for i in (0, 4)] == ["only_sender_online"] * 2
    assert said(settlements[2])["receiver_id"] == "bob"
    assert said(settlements[3]) == {"message_type": "ERROR"}


@autojump
async def test_who_receives_follows_the_registry(rig: Rig) -> None:
    assert await rig.receivers("nobody") == ["Server"], "nobody is online: the server is told"
    await rig.hear(update("alice", full=True))
    assert await rig.receivers("nobody") == ["alice"]
    await rig.hear(update("bob", offline=["alice"]))
    assert await rig.receivers("nobody") == ["bob"]
    await rig.deliver("meta", register("carol"))
    assert await rig.receivers("bob", "carol") == ["carol", "bob"]
    await rig.deliver("meta", b'{"message_type": "CLIENT_DISCONNECTED", "agent_id": "bob"}')
    assert await rig.receivers("nobody") == ["carol"]
    await rig.hear(update("dave", full=True))
    assert await rig.receivers("nobody") == ["dave"], "a full update is the whole truth"
    await rig.hear(update(full=True))
    assert await rig.receivers("nobody") == ["Server"]


@autojump
async def test_nothing_is_taken_before_somebody_is_known(rig: Rig) -> None:
    assert not rig.gate.is_open
    await rig.hear(BrokerRegistered("b"))
    assert not rig.gate.is_open
    await rig.hear(update(full=True))
    assert rig.gate.is_open, "that nobody is online is known, too"


@autojump
async def test_a_registration_opens_the_gate(rig: Rig) -> None:
    await rig.deliver("meta", b"rubbish")
    assert not rig.gate.is_open
    await rig.deliver("meta", register("alice"))
    assert rig.gate.is_open


@autojump
async def test_the_gate_closes_when_the_server_is_gone_for_long(rig: Rig) -> None:
    await rig.hear(BrokerRegistered("b"), update("alice"))
    await trio.sleep(1000)
    assert rig.gate.is_open, "while the server is there, the registry does not age"
    assert rig.router.stale_at == math.inf
    await rig.hear(ServerLost())
    assert rig.router.stale_at == trio.current_time() + TTL
    with structlog.testing.capture_logs() as lines:
        assert await rig.gate_turns() == TTL
    assert [line["event"] for line in lines] == ["registry_stale"]
    assert rig.router.stale_at == math.inf, "it is already"


@autojump
async def test_the_gate_closes_on_time_whatever_else_goes_on(rig: Rig) -> None:
    await rig.hear(update("alice"), ServerLost())  # it was not even accepted
    started = trio.current_time()
    while rig.gate.is_open:
        await trio.sleep(0.75)
        await rig.deliver("in", chat(), b"rubbish")
        await rig.hear(ServerLost())
    assert trio.current_time() - started == TTL


@autojump
async def test_a_server_that_comes_back_in_time_keeps_the_gate_open(rig: Rig) -> None:
    await rig.hear(BrokerRegistered("b"), update("alice"), ServerLost())
    await trio.sleep(TTL - 1)
    await rig.hear(BrokerRegistered("b"))
    await trio.sleep(10 * TTL)
    assert rig.gate.is_open


@autojump
async def test_only_a_status_update_opens_the_gate_again(rig: Rig) -> None:
    await rig.hear(BrokerRegistered("b"), update("alice"), ServerLost())
    await rig.gate_turns()
    await rig.deliver("meta", register("bob"))
    assert not rig.gate.is_open
    await rig.hear(BrokerRegistered("b"))
    assert not rig.gate.is_open
    await rig.hear(update("alice"))
    assert rig.gate.is_open


@autojump
async def test_an_update_ahead_of_the_answer_opens_the_gate_after_a_long_absence(rig: Rig) -> None:
    """Servers may send the update before they answer the registration, and none after that."""
    await trio.sleep(10 * TTL)
    await rig.hear(update("alice"), BrokerRegistered("b"))
    assert rig.gate.is_open
    await rig.hear(ServerLost())
    await rig.gate_turns()
    await trio.sleep(10 * TTL)
    await rig.hear(update("alice"), BrokerRegistered("b"))
    assert rig.gate.is_open


@autojump
async def test_without_the_server_from_the_start_the_gate_closes_too(rig: Rig) -> None:
    await trio.sleep(TTL / 2)
    await rig.deliver("meta", register("alice"))
    assert rig.gate.is_open
    assert await rig.gate_turns() == TTL / 2


@autojump
async def test_without_a_limit_the_gate_never_closes() -> None:
    async with running(registry_ttl=0) as rig:
        assert not rig.gate.is_open
        await rig.hear(BrokerRegistered("b"), update("alice"), ServerLost())
        await trio.sleep(80_000)
        await rig.deliver("in", chat())
        assert rig.gate.is_open


async def test_a_large_update_lets_others_run(rig: Rig) -> None:
    turns = 0
    large = update(*map(str, range(100_000)), full=True)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        await rig.mailbox.send_news.send(large)
        nursery.start_soon(take_turns)
        await rig.gate.opened()
        nursery.cancel_scope.cancel()
    assert turns >= 100


@autojump
@pytest.mark.parametrize("queue", QUEUES.inputs)
async def test_chat_messages_do_not_wait_for_the_end_of_a_large_update(
    rig: Rig, queue: str
) -> None:
    await rig.hear(update("alice"))
    logged_before: list[list[str]] = []
    with structlog.testing.capture_logs() as lines:

        def settle(settlements: Sequence[Settlement]) -> None:
            rig.batches.append(settlements)
            logged_before.append([line["event"] for line in lines])

        await rig.mailbox.send_news.send(update(*map(str, range(100_000)), full=True))
        rig.mailbox.deliver(Deliveries(queue, [Delivery(queue, 1, chat())], settle))
        await trio.sleep(1)
    [[settlement]] = rig.batches
    assert said(settlement)["receiver_id"]
    assert logged_before == [[]]
    assert [line["event"] for line in lines] == ["registry_updated"]


@autojump
async def test_a_sign_of_life_does_not_wait_for_the_end_of_a_large_update(rig: Rig) -> None:
    with structlog.testing.capture_logs() as lines:
        await rig.mailbox.send_news.send(update(*map(str, range(100_000)), full=True))
        await rig.mailbox.answered()
        assert lines == []
    await wait_all_tasks_blocked()
    await rig.mailbox.answered()


@autojump
async def test_the_server_waits_until_a_large_update_is_applied(rig: Rig) -> None:
    """So however much it sends, little of it waits in memory."""
    with structlog.testing.capture_logs() as lines:
        await rig.mailbox.send_news.send(update(*map(str, range(100_000)), full=True))
        await rig.mailbox.send_news.send(update("alice"))
        assert [line["event"] for line in lines] == ["registry_updated"]


@autojump
async def test_it_is_known_when_the_registry_was_updated(rig: Rig) -> None:
    before = rig.router.updated_at
    assert before is None
    await trio.sleep(5)
    await rig.hear(update("alice"))
    assert rig.router.updated_at == trio.current_time()
    await rig.hear(ServerLost())
    await trio.sleep(5)
    assert rig.router.updated_at == trio.current_time() - 5


@autojump
async def test_an_explanation_says_whether_messages_are_taken(rig: Rig) -> None:
    assert rig.router.explain(chat()) == Explanation("no_agent_online", filters=NOBODY, paused=True)
    await rig.hear(update("alice"))
    explanation = rig.router.explain(chat())
    assert (explanation.receiver_id, explanation.paused) == ("alice", False)


@autojump
async def test_what_routing_took_is_counted(rig: Rig) -> None:
    await rig.deliver("in", chat(), chat(), chat())
    assert sum(rig.tally.routing_seconds.counts) == 3


@autojump
async def test_news_that_follow_a_large_update_are_not_undone_by_it(rig: Rig) -> None:
    others = map(str, range(5000))
    await rig.mailbox.send_news.send(update("alice", offline=others, full=True))
    news = Delivery("meta", 1, b'{"message_type":"CLIENT_DISCONNECTED","agent_id":"alice"}')
    rig.mailbox.deliver(Deliveries("meta", [news], rig.batches.append))
    await trio.sleep(1)
    [settlement] = await rig.deliver("in", chat())
    assert said(settlement)["reason"] == "no_agent_online"


@autojump
async def test_what_an_update_said_is_logged(rig: Rig) -> None:
    await rig.hear(update("alice", "bob"))
    with structlog.testing.capture_logs() as lines:
        await rig.hear(StatusUpdate({"bob": AgentStatus("bob")}, is_full=False, skipped=3))
    updated = {"full": False, "named": 1, "online": 1, "known": 2}
    assert lines == [
        {"event": "registry_updated", "log_level": "debug", **updated},
        {"event": "agent_status_skipped", "log_level": "warning", "entries": 3},
    ]
    assert rig.tally.statuses_skipped == 3


@autojump
async def test_a_full_update_that_says_the_same_is_not_news(rig: Rig) -> None:
    """A server sends one when a broker registers, and another one when it asks."""
    with structlog.testing.capture_logs() as lines:
        for online in ("alice",), ("alice",), ("alice", "bob"), ("bob",), ("bob",):
            await rig.hear(update(*online, full=True))
        await rig.hear(ServerLost())
        await rig.hear(update("bob", full=True))
    levels = [line["log_level"] for line in lines if line["event"] == "registry_updated"]
    assert levels == ["info", "debug", "info", "info", "debug", "info"]


@autojump
async def test_an_agent_whose_status_is_unclear_stays_as_it_was_and_is_logged(rig: Rig) -> None:
    await rig.hear(update("alice", "bob", full=True))
    unclear = frozenset({"bob", *(f"stranger {number}" for number in range(50))})
    with structlog.testing.capture_logs() as lines:
        await rig.hear(StatusUpdate({}, is_full=True, skipped=51, unclear=unclear))
    assert set(await rig.receivers(*["alice"] * 5)) == {"bob"}
    assert rig.router.registry.known_count == 2
    assert rig.tally.statuses_skipped == 51
    [skipped] = [line for line in lines if line["event"] == "agent_status_skipped"]
    assert skipped["entries"] == 51
    assert skipped["unclear"][0] == "bob"
    assert len(skipped["unclear"]) == 5


@autojump
async def test_a_message_the_broker_fails_on_stops_nobody(rig: Rig) -> None:
    await rig.hear(update("bob", offline=["alice"]))
    rig.fails = True
    settlements = await rig.deliver("in", chat("alice"), chat("stranger"), chat("alice"))
    assert [said(settlements[i])["receiver_id"] for i in (0, 2)] == ["bob", "bob"]
    letter = settlements[1].publishing
    assert letter is not None
    assert (letter.queue, letter.body) == ("dead", chat("stranger"))
    assert letter.headers["x-broker-reason"] == RejectReason.INTERNAL_ERROR.value
    assert await rig.receivers("alice") == ["bob"], "and the router lives on"


@autojump
async def test_the_assigned_id_is_used_from_then_on(rig: Rig) -> None:
    await rig.hear(BrokerRegistered("named"))
    [settlement] = await rig.deliver("in", chat())
    assert settlement.publishing is not None
    assert settlement.publishing.app_id == rig.router.broker_id == "named"


@autojump
async def test_a_full_update_with_too_many_agents_leaves_the_registry_as_it_was() -> None:
    async with running(max_agents=2) as rig:
        await rig.hear(update("alice", "bob", full=True))
        with structlog.testing.capture_logs() as lines:
            await rig.hear(update("carol", "dave", "erin", full=True))
        assert lines == [
            {"event": "status_update_refused", "log_level": "error", "named": 3, "allowed": 2}
        ]
        assert set(await rig.receivers(*["alice", "bob"] * 5)) == {"alice", "bob"}


@autojump
async def test_agents_that_there_is_no_room_for_are_reported() -> None:
    async with running(max_agents=2) as rig:
        await rig.hear(update("alice", "bob", full=True))
        with structlog.testing.capture_logs() as lines:
            await rig.hear(update("carol", "dave"))
        full = {"event": "registry_full", "log_level": "warning", "entries": 2, "allowed": 2}
        assert full in lines


# Policies


@autojump
async def test_a_policy_that_fails_on_a_message_costs_no_other() -> None:
    def choose(message: ChatMessage, agents: Agents) -> Agent:
        if message.text("text_payload") == "bad":
            raise ValueError("a bug")
        return agents.random()

    async with running(routing=RoutingOptions(policy=choose)) as rig:
        await rig.hear(update("bob"))
        settlements = await rig.deliver("in", chat(), chat(text_payload="bad"), chat())
        assert [settlement.rejected for settlement in settlements] == [None, "policy_error", None]
        letter = settlements[1].publishing
        assert letter is not None
        assert letter.queue == "dead"
        assert letter.headers["x-broker-error"] == "the routing policy failed: ValueError"
        assert await rig.receivers("alice") == ["bob"]
        assert rig.tally.policy_errors == 1


@autojump
async def test_a_conversation_follows_the_agents_of_each_update() -> None:
    agents = [f"agent{number}" for number in range(20)]
    bodies = [chat(f"s{number}", conversation_id=f"c{number % 10}") for number in range(30)]
    async with running(routing=RoutingOptions(policy="consistent_hash")) as rig:
        await rig.hear(update(*agents, full=True))

        async def receivers() -> list[str]:
            await trio.sleep(1)  # until the update is applied
            settlements = await rig.deliver("in", *bodies)
            return [str(said(settlement)["receiver_id"]) for settlement in settlements]

        before = await receivers()
        assert before[:10] == before[10:20] == before[20:]
        left = before[0]
        await rig.hear(update(*(agent for agent in agents if agent != left), full=True))
        after = await receivers()
        moved = {old for old, new in zip(before, after, strict=True) if old != new}
        assert moved == {left}
        await rig.hear(update(left))
        assert await receivers() == before


async def test_others_run_while_a_policy_follows_an_update() -> None:
    """Each agent takes a policy some time, so a few hundred are too many for one go."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with running(routing=RoutingOptions(policy="consistent_hash")) as rig:
        async with trio.open_nursery() as nursery:
            await rig.mailbox.send_news.send(update(*map(str, range(400)), full=True))
            nursery.start_soon(take_turns)
            await rig.gate.opened()
            nursery.cancel_scope.cancel()
        assert turns >= 20
        assert rig.router.registry.online_count == 400


@autojump
async def test_an_agent_with_less_to_answer_gets_the_next_message() -> None:
    async with running(routing=RoutingOptions(policy="least_outstanding")) as rig:
        await rig.hear(update("alice", "bob"))
        asked = {}
        for number in range(2):
            [settlement] = await rig.deliver("in", chat(message_id=f"m{number}"))
            asked[said(settlement)["receiver_id"]] = f"m{number}"
            await trio.sleep(1)
        assert asked.keys() == {"alice", "bob"}, "each has one to answer"
        for agent_id, message_id in asked.items():
            answer = chat(agent_id, in_reply_to=message_id, message_id=f"re {message_id}")
            await rig.deliver("in", answer)
        assert rig.router.choosing.unanswered_count == 0, "an answer asks for nothing"
        [settlement] = await rig.deliver("in", chat(message_id="m3"))
        busy = said(settlement)["receiver_id"]
        await trio.sleep(10)
        [settlement] = await rig.deliver("in", chat(message_id="m4"))
        assert {busy, said(settlement)["receiver_id"]} == {"alice", "bob"}
        assert sum(rig.tally.answer_seconds.counts) == 2


@autojump
async def test_a_required_receiver_that_is_offline_is_reported() -> None:
    async with running(routing=RoutingOptions(receiver=ReceiverRule.REQUIRE)) as rig:
        await rig.hear(update("alice", offline=["bob"]))
        settlements = await rig.deliver(
            "in", chat(receiver_id="alice"), chat(receiver_id="bob"), chat()
        )
        assert [said(settlement).get("reason") for settlement in settlements] == [
            None,
            "receiver_offline",
            None,
        ]
