"""Routing policies with real processes: one of the user's own, and those that brokers share."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from broker.core.messages import AgentStatus
from broker.sandbox.broker_process import COMMAND
from tests.integration.http_client import get, listening
from tests.integration.rig import Rig, bring_online, ids, register, text
from tests.lab.central_server import CentralServer
from tests.lab.eventually import eventually

MODULE = "policies_of_a_test"
POLICIES = '''
def last(message, agents):
    if message.text("text_payload") == "trouble":
        raise LookupError("nothing fits " + message.text("message_id"))
    if message.text("text_payload") == "nobody":
        return None
    return max(agents, key=lambda agent: agent.agent_id)


class Loyal:
    """Gives messages to the agent that they name, whatever has become of it."""

    def __init__(self):
        self.agents = {}

    def arrived(self, agent):
        self.agents[agent.agent_id] = agent

    def __call__(self, message, agents):
        return self.agents[message.text("text_payload")]
'''


def write_policies(directory: Path) -> None:
    (directory / f"{MODULE}.py").write_text(POLICIES)


def from_client(number: int, client: str = "client", **fields: object) -> bytes:
    """Return a message of one of the server's clients, who are no agents."""
    return text(number, client, _client_id="c1", **fields)


async def metric(port: int, name: str) -> float:
    exposition = (await get(port, "/metrics"))[1]
    [value] = [line for line in exposition.splitlines() if line.startswith(f"{name} ")]
    return float(value.rpartition(" ")[2])


async def reasons(rig: Rig, count: int) -> list[tuple[object, object, object]]:
    """Return the id of each dead letter, and why it is one."""
    found: list[tuple[object, object, object]] = []
    for letter in await rig.take(rig.dead_letter, count):
        headers = letter.header.properties.headers or {}
        message_id = json.loads(letter.body)["message_id"]
        found.append((message_id, headers["x-broker-reason"], headers["x-broker-error"]))
    return found


async def test_one_that_raises_for_a_message_costs_only_that(
    rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server)
    write_policies(rig.directory)
    named = {"BROKER_ROUTING_POLICY": f"{MODULE}:last", "BROKER_HTTP_PORT": "0"}
    async with rig.routing(server.url, **named):
        trouble = text(2, agents[0], text_payload="trouble", _client_id="c7")
        await rig.publish(rig.input, text(1, agents[0]), trouble, text(3, agents[4]))
        first, third = await rig.take(rig.output, 2)
        assert ids([first, third]) == ["m-1", "m-3"]
        assert json.loads(first.body)["receiver_id"] == "agent_4"
        assert json.loads(third.body)["receiver_id"] == "agent_3"  # never its sender
        failed = ("m-2", "policy_error", "the routing policy failed: LookupError")
        assert await reasons(rig, 1) == [failed]

        # It is asked again about the next one, and about the same once more.
        assert await rig.decided(text(4, agents[0])) == ["agent_4"]
        await rig.publish(rig.input, trouble)
        assert await reasons(rig, 1) == [failed]
        # None is an answer.
        nobody = text(5, agents[0], text_payload="nobody")
        assert await rig.decided(nobody, text(6, agents[0])) == ["no_capable_agent", "agent_4"]

        port = await listening(rig)
        assert await metric(port, "broker_policy_errors_total") == 2
        assert await metric(port, "broker_policy_seconds_count") == 7
        # A dead letter is counted when it is confirmed, and that may be after it was read.
        await eventually(
            partial(metric, port, 'broker_dead_lettered_total{reason="policy_error"}'),
            "two dead letters are counted",
            until=lambda count: count == 2,
        )
    [line] = [line for line in rig.log() if line["event"] == "policy_failed"]
    assert line["error"] == "the routing policy failed: LookupError"


async def test_one_that_returns_an_agent_that_is_offline(rig: Rig, server: CentralServer) -> None:
    bring_online(server, 3)
    write_policies(rig.directory)
    settings = {"BROKER_ROUTING_POLICY": f"{MODULE}:Loyal", "BROKER_LOG_LEVEL": "debug"}
    async with rig.routing(server.url, **settings):
        to = [from_client(n, text_payload=f"agent_{n}") for n in range(3)]
        assert await rig.decided(*to) == ["agent_0", "agent_1", "agent_2"]
        server.update(AgentStatus("agent_1", "Agent 1", is_online=False))
        await rig.updated(1, full=False)

        await rig.publish(rig.input, *to)
        assert ids(await rig.take(rig.output, 2)) == ["m-0", "m-2"]
        chosen = "the routing policy chose an agent that may not receive the message"
        assert await reasons(rig, 1) == [("m-1", "policy_error", chosen)]
        # The sender may not receive its own, and neither may one without what is required.
        own = text(1, "agent_2", text_payload="agent_2")
        capable = text(2, "agent_0", text_payload="agent_2", required_capabilities=["chess"])
        await rig.publish(rig.input, own)
        assert await reasons(rig, 1) == [("m-1", "policy_error", chosen)]
        assert await rig.decided(capable) == ["no_capable_agent"]  # so it is not even asked


async def test_one_on_the_python_path(
    rig: Rig, server: CentralServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bring_online(server)
    directory = tmp_path_factory.mktemp("policies")
    write_policies(directory)
    path = [str(directory), *map(os.path.abspath, os.environ.get("PYTHONPATH", "").split(":"))]
    settings = {"BROKER_ROUTING_POLICY": f"{MODULE}:last", "PYTHONPATH": os.pathsep.join(path)}
    async with rig.broker(server.url, command=COMMAND, **settings):
        await rig.logged("routing_started")
        assert await rig.decided(text(1, "agent_0")) == ["agent_4"]


class Replicas(NamedTuple):
    """Two brokers that share everything but their input queues, and where each serves HTTP."""

    inputs: tuple[str, str]
    ports: tuple[int, int]


@asynccontextmanager
async def replicas(rig: Rig, server: CentralServer, policy: str) -> AsyncIterator[Replicas]:
    inputs = (f"{rig.input}_a", f"{rig.input}_b")
    ports = []
    async with AsyncExitStack() as stack:
        for number, queue in enumerate(inputs, 1):
            settings = {"BROKER_INPUT_QUEUE": queue, "BROKER_ROUTING_POLICY": policy}
            await stack.enter_async_context(
                rig.broker(server.url, BROKER_HTTP_PORT="0", BROKER_LOG_LEVEL="debug", **settings)
            )
            ports.append(await listening(rig, number))
            await rig.logged("routing_started", number)
        yield Replicas(inputs, (ports[0], ports[1]))


@pytest.mark.exhaustive
async def test_an_answer_that_comes_to_another_broker_is_told(
    rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server)
    async with replicas(rig, server, "least_outstanding") as (inputs, ports):
        one, other = ports
        questions = [from_client(number) for number in range(5)]
        receivers = await rig.decided(*questions, queue=inputs[0])
        assert set(receivers) <= set(agents)
        assert await metric(one, "broker_unanswered_messages") == 5
        assert await metric(other, "broker_unanswered_messages") == 0

        # One answer in each of the ways in which agents answer, and one by somebody else.
        error = {"message_type": "ERROR", "sender_id": receivers[2], "in_reply_to": "m-2"}
        answers = [
            text(10, receivers[0], message_type="REPLY", in_reply_to_message_id="m-0"),
            text(11, receivers[1], in_reply_to="m-1"),
            json.dumps(error).encode(),
            from_client(13, in_reply_to="m-3"),
        ]
        await rig.publish(inputs[1], *answers)
        await rig.take(rig.output, len(answers))

        async def unanswered() -> float:
            # Answers are told in batches, along with something else that the broker publishes.
            await rig.publish(inputs[1], b'{"message_type": "ERROR"}')
            await rig.take(rig.output, 1)
            return await metric(one, "broker_unanswered_messages")

        await eventually(unanswered, "three are told", until=lambda left: left == 2)
        assert await metric(one, "broker_agent_answer_seconds_count") == 3
        assert await metric(other, "broker_agent_answer_seconds_count") == 0
        assert await metric(other, "broker_unanswered_messages") == 0  # answers ask for nothing

        # The other ones are answered here.
        await rig.decided(
            *(text(20 + n, receivers[n], in_reply_to=f"m-{n}") for n in (3, 4)), queue=inputs[0]
        )
        assert await metric(one, "broker_unanswered_messages") == 0


@pytest.mark.exhaustive
async def test_a_conversation_has_the_same_agent_at_every_broker(
    rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server, 10)
    async with replicas(rig, server, "consistent_hash") as (inputs, _):

        async def assigned(queue: str) -> list[str]:
            """Return the agents of fifty conversations, and of fifty senders without one."""
            return await rig.decided(
                *(from_client(n, f"client_{n % 7}", conversation_id=f"c-{n}") for n in range(50)),
                *(from_client(n, f"client_{n}") for n in range(50)),
                queue=queue,
            )

        async def assigned_alike() -> list[str]:
            here, there = [await assigned(queue) for queue in inputs]
            assert here == there
            return here

        before = await assigned_alike()
        assert len(set(before)) > 5
        assert before == await assigned(inputs[0])

        # Only the conversations of an agent that leaves move.
        server.update(AgentStatus(agents[3], "Agent 3", is_online=False))
        await rig.updated(2, full=False)
        without = await assigned_alike()
        assert agents[3] not in without
        moved = {old for old, new in zip(before, without, strict=True) if old != new}
        assert moved == {agents[3]}

        # It returns to one broker, by queue, and has its conversations back at both.
        await rig.publish(rig.metadata, register(agents[3]))
        await rig.take(rig.output, 1)
        await rig.logged("registry_event_heard")
        assert await assigned_alike() == before
