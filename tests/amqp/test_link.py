"""Session after session with RabbitMQ, whose part is played by hand."""

import math
import random
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest
import structlog
import trio
from structlog.typing import EventDict
from trio.testing import wait_all_tasks_blocked

from broker.amqp import (
    AmqpEndpoint,
    AmqpLink,
    Deliveries,
    HeldQueue,
    Session,
    SessionParameters,
    Settlement,
)
from broker.concurrency.wakeup import Gate
from broker.net.backoff import Backoff
from broker.settings.amqp_nodes import AmqpNodes
from broker.settings.secret_files import SecretFile
from tests.lab.autojump import autojump
from tests.lab.fake_amqp import FakeSession, Node

DRAIN_TIMEOUT = 20.0


def nowhere(_: Deliveries) -> None:
    raise AssertionError("nothing is delivered")


class Rig:
    """A running link. The second round of nodes begins with the second node, and so on."""

    def __init__(
        self,
        node: Node,
        lines: list[EventDict],
        gated_queues: Sequence[str] = ("in",),
        held: HeldQueue | None = None,
    ) -> None:
        self.node = node
        self.lines = lines
        self.gate = Gate()
        self.scope = trio.CancelScope()
        self.rounds = 0
        self._deliver, self.arrived = trio.open_memory_channel[Deliveries](math.inf)
        self.link = AmqpLink(
            node.open_session,
            sessions=[parameters(host) for host in ("one", "two", "three")],
            gated_queues=gated_queues,
            other_queues=("meta", "advert"),
            consumption=self.gate,
            held=held,
            backoff=Backoff(initial=1, maximum=30, random=lambda: 1.0),
            shuffle=self._rotate,
        )

    def _rotate(self, nodes: list[SessionParameters]) -> None:
        nodes[:] = nodes[self.rounds % 3 :] + nodes[: self.rounds % 3]
        self.rounds += 1

    async def run(self) -> None:
        with self.scope:
            await self.link.run(self._deliver.send_nowait)

    async def open_gate(self) -> None:
        self.gate.open()
        await settled()

    def start_draining(self, nursery: trio.Nursery) -> list[bool]:
        """Return what draining returns, once it does."""
        drained: list[bool] = []

        async def drain() -> None:
            drained.append(await self.link.drain())

        nursery.start_soon(drain)
        return drained

    async def settle(self) -> None:
        mail = await self.arrived.receive()
        mail.publish([Settlement(delivery) for delivery in mail.deliveries])

    def events(self, event: str) -> list[EventDict]:
        return [line for line in self.lines if line["event"] == event]


def parameters(host: str) -> SessionParameters:
    endpoint = AmqpEndpoint(host, 5672, "me", "s3cr3t", "/", tls=False)
    return SessionParameters(endpoint=endpoint, name="test", drain_timeout=DRAIN_TIMEOUT)


@pytest.fixture
def rig() -> Iterator[Rig]:
    node = Node()
    with structlog.testing.capture_logs() as lines:
        yield Rig(node, lines)


@pytest.fixture
async def running(rig: Rig, nursery: trio.Nursery) -> Rig:
    """A link whose first session is open."""
    nursery.start_soon(rig.run)
    await settled()
    return rig


async def settled() -> None:
    """Let everything happen that happens without the clock."""
    await wait_all_tasks_blocked()


@autojump
async def test_the_gate_pauses_and_resumes_all_gated_queues_and_no_other(
    nursery: trio.Nursery,
) -> None:
    node = Node()
    with structlog.testing.capture_logs() as lines:
        rig = Rig(node, lines, gated_queues=("in-1", "in-2", "in-3"))
        nursery.start_soon(rig.run)
        await settled()
        others = list(node.session.consuming)
        assert sorted(others) == ["advert", "meta"]
        for _ in range(2):
            await rig.open_gate()
            assert node.session.consuming[:2] == others, "the others were not touched"
            assert sorted(node.session.consuming[2:]) == ["in-1", "in-2", "in-3"]
            for queue in ("in-3", "in-1", "meta"):
                node.session.deliver(queue)
                mail = await rig.arrived.receive()
                assert mail.source == queue
                mail.publish([Settlement(delivery) for delivery in mail.deliveries])
            rig.gate.close()
            await settled()
            assert node.session.consuming == others
    assert len(node.sessions) == 1
    for event in ("routing_started", "routing_paused"):
        logged = [line["queue"] for line in rig.events(event)]
        assert sorted(logged[:3]) == sorted(logged[3:]) == ["in-1", "in-2", "in-3"]


@autojump
async def test_no_gated_queue_resumes_while_another_holds_something(nursery: trio.Nursery) -> None:
    node = Node()
    rig = Rig(node, [], gated_queues=("in-1", "in-2"))
    nursery.start_soon(rig.run)
    await rig.open_gate()
    node.session.deliver("in-2")
    rig.gate.close()
    await settled()
    await rig.open_gate()
    assert sorted(node.session.consuming) == ["advert", "meta"]
    await rig.settle()
    await settled()
    assert sorted(node.session.consuming) == ["advert", "in-1", "in-2", "meta"]


@autojump
async def test_a_gate_that_turns_quickly_is_obeyed(running: Rig) -> None:
    running.gate.open()
    running.gate.close()
    await settled()
    assert "in" not in running.node.session.consuming
    await running.open_gate()
    running.gate.close()
    await running.open_gate()
    assert running.node.session.consuming.count("in") == 1


@autojump
async def test_held_messages_are_consumed_while_they_are_looked_at(nursery: trio.Nursery) -> None:
    gate = Gate()
    rig = Rig(Node(), [], held=HeldQueue("held", gate))
    nursery.start_soon(rig.run)
    await rig.open_gate()
    assert "held" not in rig.node.session.consuming
    for _ in range(2):
        gate.open()
        await settled()
        assert "held" in rig.node.session.consuming
        gate.close()
        await settled()
        assert "held" not in rig.node.session.consuming
    assert not rig.node.session.looked_for
    assert not rig.events("routing_paused")


@autojump
@pytest.mark.parametrize("existing", [set[str](), {"held"}])
async def test_what_was_held_before_is_taken_out_if_there_is_such_a_queue(
    existing: set[str], nursery: trio.Nursery
) -> None:
    node = Node()
    node.existing = existing
    rig = Rig(node, [], held=HeldQueue("held", None))
    nursery.start_soon(rig.run)
    await settled()
    for _ in range(2):
        assert ("held" in node.session.consuming) == bool(existing)
        node.session.lose()
        await trio.sleep(60)
        await settled()
    assert [session.looked_for for session in node.sessions] == [["held"], [], []]


@autojump
async def test_a_queue_that_is_refused_is_tried_again_alone(
    rig: Rig, nursery: trio.Nursery
) -> None:
    rig.node.refused = {"advert": "RESOURCE_LOCKED", "in": "NOT_FOUND"}
    nursery.start_soon(rig.run)
    await rig.open_gate()
    assert rig.node.session.consuming == ["meta"]
    assert rig.link.refused == rig.node.refused
    await trio.sleep(40)
    tries = rig.events("consumer_lost")
    assert {line["log_level"] for line in tries[2:]} == {"debug"}, "the same is told once"
    assert max(line["retry_in_seconds"] for line in tries) <= 10
    assert len([line for line in tries if line["queue"] == "in"]) > 4

    rig.node.refused.clear()
    await trio.sleep(11)
    assert sorted(rig.node.session.consuming) == ["advert", "in", "meta"]
    assert rig.link.refused == {}
    assert [line["queue"] for line in rig.events("consumer_resumed")] == ["advert"]
    assert len(rig.node.sessions) == 1


@autojump
async def test_another_node_is_tried_when_no_input_queue_can_be_consumed(
    rig: Rig, nursery: trio.Nursery
) -> None:
    rig.node.refused = {"in": "NOT_FOUND", "advert": "RESOURCE_LOCKED"}
    nursery.start_soon(rig.run)
    rig.gate.open()
    await trio.sleep(65)
    assert rig.node.opened == ["one", "two"]
    [line] = rig.events("amqp_lost")
    assert line["error"] == "this node does not let in be consumed"
    del rig.node.refused["in"]
    await trio.sleep(1000)
    assert rig.node.opened == ["one", "two"], "other queues are no reason"


@autojump
async def test_a_consumer_that_is_lost_is_consumed_again_alone(running: Rig) -> None:
    await running.open_gate()
    for queue in ("advert", "in"):
        running.node.session.cancel(queue)
        await settled()
        assert queue not in running.node.session.consuming
        await trio.sleep(1)
        assert queue in running.node.session.consuming
    assert len(running.node.sessions) == 1


@autojump
@pytest.mark.parametrize("is_held", [False, True])
async def test_a_consumer_that_is_lost_while_draining_spoils_it_if_something_was_held(
    running: Rig, nursery: trio.Nursery, *, is_held: bool
) -> None:
    await running.open_gate()
    running.node.session.deliver("in")
    drained = running.start_draining(nursery)
    await settled()
    if is_held:
        running.node.session.lose_draining()
    else:
        await running.settle()
    await settled()
    assert drained == [not is_held]


@autojump
async def test_all_nodes_are_tried_at_once_and_then_comes_a_growing_pause(
    rig: Rig, nursery: trio.Nursery
) -> None:
    rig.node.refuses = True
    nursery.start_soon(rig.run)
    await trio.sleep(60)
    first, second, third = ["one", "two", "three"], ["two", "three", "one"], ["three", "one", "two"]
    assert rig.node.opened == [*first, *second, *third, *first, *second, *third]
    pauses = [line["retry_in_seconds"] for line in rig.events("amqp_unavailable")]
    assert pauses == [0, 0, 1, 0, 0, 2, 0, 0, 4, 0, 0, 8, 0, 0, 16, 0, 0, 30]
    endpoints = [line["endpoint"] for line in rig.events("amqp_unavailable")]
    assert endpoints == [f"amqp://me@{host}:5672/%2F" for host in rig.node.opened]
    assert {line["error"] for line in rig.events("amqp_unavailable")} == {"connection refused"}
    assert "s3cr3t" not in repr(rig.lines)


@autojump
async def test_a_node_that_is_down_costs_no_pause(rig: Rig, nursery: trio.Nursery) -> None:
    rig.node.down = {"one", "two"}
    started = trio.current_time()
    nursery.start_soon(rig.run)
    await settled()
    assert rig.node.opened == ["one", "two", "three"]
    assert trio.current_time() == started
    assert rig.link.connectivity.is_connected
    assert [line["retry_in_seconds"] for line in rig.events("amqp_unavailable")] == [0, 0]


@autojump
async def test_a_loss_begins_a_new_round(rig: Rig, nursery: trio.Nursery) -> None:
    rig.node.down = {"one", "three"}
    nursery.start_soon(rig.run)
    await settled()
    rig.node.session.lose()
    await settled()
    assert rig.node.opened == ["one", "two"], "a pause comes first"
    await trio.sleep(1)
    await settled()
    new_round = ["three", "one", "two"]
    assert rig.node.opened == ["one", "two", *new_round], "the one that was lost comes last"
    assert [line["retry_in_seconds"] for line in rig.events("amqp_unavailable")] == [0, 0, 0]
    assert [line["retry_in_seconds"] for line in rig.events("amqp_lost")] == [1]


@autojump
async def test_many_brokers_spread_over_all_nodes(nursery: trio.Nursery) -> None:
    random.seed(0)
    node = Node()
    for _ in range(60):
        link = AmqpLink(
            node.open_session,
            sessions=[parameters(host) for host in ("one", "two", "three")],
            gated_queues=(),
            other_queues=(),
            consumption=Gate(),
            backoff=Backoff(),
        )
        nursery.start_soon(link.run, nowhere)
    await settled()
    assert len(node.opened) == 60
    assert all(node.opened.count(host) > 10 for host in ("one", "two", "three"))


async def test_a_file_that_does_not_answer_holds_up_neither_round_nor_stop() -> None:
    answers = threading.Event()
    nodes = AmqpNodes((), url_file=SecretFile("AMQP_URL", __file__, lambda _: answers.wait()))
    link = AmqpLink(
        Node().open_session,
        sessions=[msgspec.structs.replace(parameters("one"), nodes=nodes)],
        gated_queues=(),
        other_queues=(),
        consumption=Gate(),
        backoff=Backoff(initial=0.01, maximum=0.01),
        read_timeout=0.02,
    )
    try:
        with structlog.testing.capture_logs() as lines, trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run, nowhere)
                while len(lines) < 2:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
    finally:
        answers.set()
    assert {line["error"] for line in lines} == {"AMQP_URL_FILE could not be read within 0.02 s"}


@autojump
async def test_draining_ends_a_round(rig: Rig, nursery: trio.Nursery) -> None:
    rig.node.refuses = True
    rig.node.opening = 5
    nursery.start_soon(rig.run)
    await trio.sleep(6)
    assert await rig.link.drain()
    await trio.sleep(1000)
    assert rig.node.opened == ["one", "two"]
    assert [line.get("retry_in_seconds") for line in rig.events("amqp_unavailable")] == [0, None]


@autojump
async def test_a_lost_session_is_built_anew(running: Rig) -> None:
    await running.open_gate()
    for number in (1, 2):
        running.node.session.lose()
        await settled()
        assert len(running.node.sessions) == number
        await trio.sleep(number)
        await settled()
        assert sorted(running.node.session.consuming) == ["advert", "in", "meta"]
    assert running.node.opened == ["one", "two", "three"]


@autojump
async def test_an_attempt_that_took_long_did_not_last(rig: Rig, nursery: trio.Nursery) -> None:
    rig.node.refuses = True
    rig.node.opening = 40
    nursery.start_soon(rig.run)
    await trio.sleep(500)
    pauses = [line["retry_in_seconds"] for line in rig.events("amqp_unavailable")]
    assert pauses == [0, 0, 1, 0, 0, 2, 0, 0, 4, 0, 0, 8]


@autojump
async def test_a_session_that_lasted_resets_the_pauses(running: Rig) -> None:
    for lifetime in (0, 0, 0, 31):
        while not running.node.sessions or running.node.closed == len(running.node.sessions):
            await trio.sleep(1)
        await trio.sleep(lifetime)
        running.node.session.lose()
        await settled()
    assert [line["retry_in_seconds"] for line in running.events("amqp_lost")] == [1, 2, 4, 1]
    assert not running.events("amqp_unavailable")
    assert {line["product"] for line in running.events("amqp_connected")} == {"RabbitMQ 3.10.8"}


@autojump
async def test_draining_with_nothing_held(running: Rig) -> None:
    await running.open_gate()
    assert await running.link.drain()
    assert running.node.session.consuming == []
    assert running.node.closed == 0, "the session stays open for the last acknowledgements"
    await trio.sleep(1000)
    assert running.node.opened == ["one"]


@autojump
@pytest.mark.parametrize("refuses", [False, True])
async def test_draining_without_a_session(
    *, refuses: bool, rig: Rig, nursery: trio.Nursery
) -> None:
    rig.node.opening = 5
    rig.node.refuses = refuses
    nursery.start_soon(rig.run)
    await trio.sleep(1)
    started = trio.current_time()
    assert await rig.link.drain()
    assert trio.current_time() == started
    await trio.sleep(1000)
    assert rig.node.opened == ["one"], "no other session is tried"


@autojump
async def test_a_session_that_opens_while_draining_takes_nothing(
    rig: Rig, nursery: trio.Nursery
) -> None:
    rig.gate.open()
    rig.node.opening = 5
    nursery.start_soon(rig.run)
    await trio.sleep(1)
    assert await rig.link.drain()
    await trio.sleep(10)
    [session] = rig.node.sessions
    assert session.consumed == []


@autojump
async def test_draining_in_a_pause(running: Rig) -> None:
    running.node.session.lose()
    await settled()
    assert await running.link.drain()
    await trio.sleep(1000)
    assert running.node.opened == ["one"]


@autojump
async def test_draining_waits_until_all_that_is_held_is_settled(
    running: Rig, nursery: trio.Nursery
) -> None:
    await running.open_gate()
    running.node.session.deliver("in")
    running.node.session.deliver("meta")
    drained = running.start_draining(nursery)
    await settled()
    assert running.node.session.consuming == [], "nothing more is taken"
    await running.settle()
    await settled()
    assert drained == []
    await running.settle()
    await settled()
    assert drained == [True]


@autojump
async def test_draining_that_takes_too_long(running: Rig) -> None:
    await running.open_gate()
    running.node.session.deliver("in")
    started = trio.current_time()
    assert not await running.link.drain()
    assert trio.current_time() - started == DRAIN_TIMEOUT
    await trio.sleep(1000)
    assert running.node.opened == ["one"]


@autojump
async def test_a_loss_spoils_draining(running: Rig, nursery: trio.Nursery) -> None:
    await running.open_gate()
    running.node.session.deliver("in")

    async def lose() -> None:
        await trio.sleep(1)
        running.node.session.lose()

    nursery.start_soon(lose)
    assert not await running.link.drain()
    await trio.sleep(1000)
    assert running.node.opened == ["one"]


@autojump
async def test_a_loss_of_before_spoils_no_draining(running: Rig) -> None:
    """What was held then is back in its queue, and the next session had nothing left unsettled."""
    await running.open_gate()
    running.node.session.deliver("in")
    running.node.session.lose()
    await trio.sleep(1)
    await settled()
    assert len(running.node.sessions) == 2
    assert await running.link.drain()


@autojump
@pytest.mark.parametrize("drains", [False, True])
async def test_cancelled_it_closes_the_session(*, drains: bool, running: Rig) -> None:
    if drains:
        await running.link.drain()
    running.scope.cancel()
    await settled()
    assert running.scope.cancelled_caught
    assert running.node.closed == 1


@autojump
async def test_a_session_that_just_ends_is_a_bug() -> None:
    class EndingNode(Node):
        @asynccontextmanager
        async def open_session(self, _: SessionParameters) -> AsyncIterator[Session]:
            with trio.CancelScope() as scope:
                scope.cancel()
                yield cast("Session", FakeSession([]))

    with pytest.raises(AssertionError, match="neither lasted nor was lost"):
        await Rig(EndingNode(), []).run()
