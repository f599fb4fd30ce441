"""Run the broker, a central server and agents around a RabbitMQ node."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import trio
from rich.console import Console

from broker.amqp import AmqpEndpoint, Rabbit, SessionParameters
from broker.concurrency.signals import Interruption
from broker.concurrency.wakeup import Wakeup
from broker.sandbox.accounting import Ledger
from broker.sandbox.agents import Agent, agent_names
from broker.sandbox.broker_process import STOP_TIMEOUT, BrokerProcess, open_broker
from broker.sandbox.central_server import CentralServer, open_central_server
from broker.sandbox.conversation import Conversation
from broker.sandbox.desk import Desk
from broker.sandbox.live import BrokerState, watch, watch_progress
from broker.sandbox.output_reader import OutputReader
from broker.sandbox.presence import Presence
from broker.sandbox.rabbitmq import RabbitmqNode
from broker.sandbox.server_queues import QUEUES, advertise, relay
from broker.sandbox.traffic import Traffic

SLOW_ANSWER = 2.0
"""Seconds that a slow agent works on an answer; the others answer at once."""
READY_TIMEOUT = 30.0
"""Seconds that the broker has to connect and to learn of all agents."""
_DRAIN_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.

    Attributes:
        messages: How many, or None to talk until stopped.
        seed: Makes all choices repeatable.
        malformed: Percentage.
        policy: The broker's routing policy, by its name.
        slow_agents: How many of the agents are slow.
        hold: Seconds for which the broker holds what nobody can receive.
    """

    agents: int
    messages: int | None
    seed: int
    malformed: float
    policy: str = "random"
    slow_agents: int = 0
    hold: float = 0.0

    def random(self, purpose: str) -> Random:
        """Return a source of choices that is independent of those for other purposes."""
        return Random(f"{self.seed} {purpose}")


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Attributes:
        problems: What the ledger does not tell, one line each.
        broker_log: A file, removed along with the node.
    """

    ledger: Ledger
    agents: Sequence[Agent]
    problems: Sequence[str]
    broker_log: Path


async def run_system(
    plan: Plan,
    *,
    node: RabbitmqNode,
    rabbit: Rabbit,
    console: Console,
    interruption: Interruption,
) -> Result:
    """Start everything around a running node, let the agents talk, and stop everything again.

    Raises:
        SessionLostError: RabbitMQ is gone.
        BrokerProcessError: The broker could not be started; inside of an exception group.
    """
    ledger, progress = Ledger(), Wakeup()
    output_reader = OutputReader(ledger, progress.set)
    traffic = Traffic(
        ledger, plan.random("texts"), messages=plan.messages, malformed=plan.malformed
    )
    agents = [
        Agent(name, ledger, traffic, progress.set, _desk(traffic) if is_slow else None)
        for name, is_slow in _staff(plan)
    ]
    parameters = SessionParameters(
        AmqpEndpoint(node.host, node.port, "guest", "guest", vhost="/", tls=False),
        name="sandbox",
        queues=(*QUEUES, *(agent.queue for agent in agents)),
        drain_timeout=_DRAIN_TIMEOUT,
    )
    async with (
        rabbit.open_session(parameters) as session,
        open_central_server(CentralServer) as server,
        trio.open_nursery() as nursery,
    ):
        presence = Presence(agents, server=server, session=session, random=plan.random("presence"))
        conversation = Conversation(
            session,
            presence=presence,
            traffic=traffic,
            ledger=ledger,
            progress=progress,
            random=plan.random("conversation"),
        )
        await nursery.start(relay, session, output_reader.notice)
        await nursery.start(output_reader.read_dead_letters, session)
        for agent in agents:
            nursery.start_soon(agent.run, session)
        await advertise(session, server.url)
        await presence.come_all()
        settings = {
            "AMQP_URL": node.url,
            "WEBSOCKET_URL": server.url,
            "BROKER_HTTP_PORT": "0",
            "BROKER_ROUTING_POLICY": plan.policy,
            "BROKER_HOLD": f"{plan.hold:g}",
        }
        async with open_broker(node.directory, settings) as broker, trio.open_nursery() as watchers:
            with trio.move_on_after(READY_TIMEOUT) as getting_ready:
                watchers.start_soon(_watch_broker, broker, getting_ready, conversation)
                await server.heard("REGISTER_BROKER")
                while len(output_reader.registered) < len(agents):
                    await progress.wait()
            if not getting_ready.cancelled_caught:
                interruption.stop = conversation.stop
                page, started = broker.status_page(), trio.current_time()
                state = partial(_broker_state, broker, server, page, started, plan)
                watchers.start_soon(_show, plan, console, agents, ledger, state)
                if plan.messages is None:
                    await conversation.converse()
                else:
                    await conversation.exchange(plan.messages)
                interruption.stop = None
            problems = await stop_broker(broker)
            watchers.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    if getting_ready.cancelled_caught:
        problems.append("The broker did not get ready to route.")
    return Result(ledger, agents, problems, broker.log)


def _staff(plan: Plan) -> Iterator[tuple[str, bool]]:
    """Yield the name of each agent, and whether it is slow: the last ones are."""
    for number, name in enumerate(agent_names(plan.agents)):
        yield name, number >= plan.agents - plan.slow_agents


def _desk(traffic: Traffic) -> Desk:
    # Once there is nothing more to say, nobody wants to wait for the rest.
    return Desk(lambda: 0.0 if traffic.is_over else SLOW_ANSWER)


async def _watch_broker(
    broker: BrokerProcess, getting_ready: trio.CancelScope, conversation: Conversation
) -> None:
    await broker.wait()
    getting_ready.cancel()
    conversation.give_up()


async def stop_broker(broker: BrokerProcess) -> list[str]:
    """Stop the broker, and return what is wrong with the way it ended."""
    if not broker.is_running:
        return [f"The broker ended by itself with exit status {await broker.wait()}."]
    status = await broker.stop()
    if status is None:
        return [f"The broker did not stop within {STOP_TIMEOUT:g} s."]
    return [f"The broker stopped with exit status {status}."] if status else []


async def _show(
    plan: Plan,
    console: Console,
    agents: Sequence[Agent],
    ledger: Ledger,
    broker_state: Callable[[], BrokerState],
) -> None:
    if not console.is_terminal:
        return
    if plan.messages is None:
        await watch(console, agents, ledger, broker_state)
    else:
        await watch_progress(console, ledger, plan.messages)


def _broker_state(
    broker: BrokerProcess, server: CentralServer, page: str | None, started: float, plan: Plan
) -> BrokerState:
    return BrokerState(
        pid=broker.pid,
        is_running=broker.is_running,
        is_connected=server.session_count > 0,
        uptime=trio.current_time() - started,
        page=page,
        policy=plan.policy,
        hold=plan.hold,
    )
