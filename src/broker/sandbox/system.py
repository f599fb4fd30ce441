"""Run the broker, a central server and agents around a RabbitMQ node."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

import trio
from rich.console import Console, RenderableType

from broker.amqp import AmqpEndpoint, Rabbit, Session, SessionParameters
from broker.concurrency.signals import Interruption
from broker.concurrency.wakeup import Wakeup
from broker.sandbox.accounting import Ledger
from broker.sandbox.agents import Agent, agent_names
from broker.sandbox.central_server import CentralServer, open_central_server
from broker.sandbox.controls import Controls
from broker.sandbox.conversation import Conversation
from broker.sandbox.desk import Desk
from broker.sandbox.free_ports import HOST, free_ports
from broker.sandbox.invitation import invitation
from broker.sandbox.live import can_draw, watch, watch_lines, watch_progress
from broker.sandbox.outbox import Outbox
from broker.sandbox.output_reader import OutputReader
from broker.sandbox.picture import Rates, State, draw
from broker.sandbox.plan import Plan
from broker.sandbox.presence import Presence
from broker.sandbox.rabbitmq import RabbitmqNode
from broker.sandbox.rates import RateMeter
from broker.sandbox.restarting_broker import RestartingBroker
from broker.sandbox.server_queues import QUEUES, advertisement, relay
from broker.sandbox.sessions import keep_session
from broker.sandbox.stages import Stages
from broker.sandbox.traffic import Traffic

SLOW_ANSWER = 2.0
"""Seconds that a slow agent works on an answer; the others answer at once."""
READY_TIMEOUT = 30.0
"""Seconds that the broker has to connect and to learn of all agents."""
_RABBITMQ_PATIENCE = 60.0
"""Seconds that RabbitMQ may be away: as many as it may take to start."""
_DRAIN_TIMEOUT = 5.0


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
    stages: Stages,
    interruption: Interruption,
) -> Result:
    """Start everything around a running node, let the agents talk, and stop everything again.

    What it raises comes in an exception group.

    Raises:
        SessionLostError: RabbitMQ is gone.
        BrokerProcessError: The broker could not be started.
        RabbitmqNodeError: RabbitMQ was killed, and could not be started again.
    """
    async with open_central_server(CentralServer) as server, trio.open_nursery() as nursery:
        stages.done("server", server.url)
        system = _System(plan, node, server, nursery)
        nursery.start_soon(system.keep_session, rabbit)
        await nursery.start(system.broker.run)
        async with trio.open_nursery() as watchers:
            with trio.move_on_after(READY_TIMEOUT) as getting_ready:
                watchers.start_soon(system.watch_broker, getting_ready)
                await system.ready()
            if not getting_ready.cancelled_caught:
                stages.done("broker", system.page)
                stages.done("agents", f"{len(system.agents)} online")
                console.print(f"Send a message yourself: {system.invitation}", markup=False)
                interruption.stop = system.stop
                watchers.start_soon(system.show, console)
                await system.talk()
                interruption.stop = None
            watchers.cancel_scope.cancel()
        # Only now, when no key can kill it any more.
        problems = await system.broker.stop()
        if getting_ready.cancelled_caught:
            problems.append("The broker did not get ready to route.")
        nursery.cancel_scope.cancel()
    return Result(system.ledger, system.agents, problems, system.broker.log)


class _System:
    """All parts, and how they are put together."""

    def __init__(
        self, plan: Plan, node: RabbitmqNode, server: CentralServer, nursery: trio.Nursery
    ) -> None:
        http_port = free_ports(1)[0] if plan.http_port is None else plan.http_port
        self.page = f"http://{HOST}:{http_port}/"
        self.invitation = invitation(node)
        self.ledger = Ledger()
        self.broker = RestartingBroker(
            node.directory,
            {
                "AMQP_URL": node.url,
                "WEBSOCKET_URL": server.url,
                "BROKER_HTTP_PORT": str(http_port),
                "BROKER_ROUTING_POLICY": plan.policy,
                "BROKER_HOLD": f"{plan.hold:g}",
            },
        )
        self._plan = plan
        self._node = node
        self._server = server
        self._progress = Wakeup()
        self._outbox = Outbox()
        traffic = Traffic(
            self.ledger, plan.random("texts"), messages=plan.messages, malformed=plan.malformed
        )
        self.agents = [
            Agent(
                name,
                self.ledger,
                traffic,
                self._outbox,
                self._progress.set,
                _desk(traffic) if is_slow else None,
            )
            for name, is_slow in _staff(plan)
        ]
        self._agent_ids = {agent.agent_id for agent in self.agents}
        self._output_reader = OutputReader(self.ledger, self._agent_ids, self._progress.set)
        presence = Presence(
            self.agents, server=server, outbox=self._outbox, random=plan.random("presence")
        )
        self._conversation = Conversation(
            self._outbox,
            presence=presence,
            traffic=traffic,
            ledger=self.ledger,
            progress=self._progress,
            random=plan.random("conversation"),
        )
        self._controls = Controls(
            ledger=self.ledger,
            server=server,
            broker=self.broker,
            node=node,
            presence=presence,
            random=plan.random("controls"),
            nursery=nursery,
            quit=self.stop,
        )
        self._meter = RateMeter()
        if plan.kill:
            self._conversation.disasters = (
                self._controls.kill_broker,
                self._controls.kill_rabbitmq,
            )
            self._conversation.patience = _RABBITMQ_PATIENCE
        self._outbox.put([advertisement(server.url)])
        presence.come_all()

    async def keep_session(self, rabbit: Rabbit) -> None:
        """Be the server's queues and the agents, in one session with RabbitMQ after the other."""
        node = self._node
        parameters = SessionParameters(
            AmqpEndpoint(node.host, node.port, "guest", "guest", vhost="/", tls=False),
            name="sandbox",
            queues=(*QUEUES, *(agent.queue for agent in self.agents)),
            drain_timeout=_DRAIN_TIMEOUT,
        )
        await keep_session(rabbit, repeat(parameters), self._work, patience=_RABBITMQ_PATIENCE)

    async def ready(self) -> None:
        """Wait until the broker is registered, and knows all agents."""
        await self._server.heard("REGISTER_BROKER")
        while not self._output_reader.registered >= self._agent_ids:
            await self._progress.wait()

    async def watch_broker(self, getting_ready: trio.CancelScope) -> None:
        """When the broker ends by itself, give everything up."""
        await self.broker.ended.wait()
        getting_ready.cancel()
        self._conversation.give_up()

    async def talk(self) -> None:
        """Let the agents talk until all is accounted for, and the broker can be stopped."""
        if self._plan.messages is None:
            await self._conversation.converse()
        else:
            await self._conversation.exchange(self._plan.messages)
        with trio.move_on_after(_DRAIN_TIMEOUT):
            await self._outbox.flush()
        if not self.broker.ended.is_set():
            # One that was killed a moment ago could not take a signal yet.
            with trio.move_on_after(READY_TIMEOUT):
                await self.broker.started_again()
                await self._server.has_broker()

    def stop(self) -> None:
        """End when all messages are accounted for; without the server they would never be."""
        self._controls.resume()
        self._conversation.stop()

    async def show(self, console: Console) -> None:
        """Show what happens, as well as the console can, until cancelled."""
        is_long = self._plan.messages is None or self._plan.kill
        if not can_draw(console):
            await watch_lines(console, self.ledger)
        elif is_long:
            await watch(console, partial(self._picture, console), self._controls.press)
        else:
            await watch_progress(console, self.ledger, self._plan.messages or 0)

    async def _work(self, session: Session) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._outbox.run, session)
            nursery.start_soon(self._serve, session)
            nursery.start_soon(self._output_reader.read_dead_letters, session)
            for agent in self.agents:
                nursery.start_soon(agent.run, session)

    async def _serve(self, session: Session) -> None:
        serving = self._server.serving
        while True:
            await serving.opened()
            async with trio.open_nursery() as nursery:
                await nursery.start(relay, session, self._output_reader.notice)
                await serving.closed()
                nursery.cancel_scope.cancel()

    def _picture(self, console: Console, has_keys: bool) -> RenderableType:
        state = State(
            pid=self.broker.pid,
            is_restarting=self.broker.is_restarting,
            is_connected=self._server.session_count > 0,
            uptime=self.broker.uptime,
            kills=self.broker.kills,
            page=self.page,
            invitation=self.invitation,
            policy=self._plan.policy,
            hold=self._plan.hold,
            is_serving=self._server.serving.is_open,
            is_rabbitmq_up=self._controls.is_rabbitmq_up,
        )
        rates = Rates(self._meter.rate(self.ledger.accounted_for), self._meter.history)
        return draw(
            self.agents,
            self.ledger,
            state,
            rates,
            width=console.width,
            height=console.height,
            has_keys=has_keys,
        )


def _staff(plan: Plan) -> Iterator[tuple[str, bool]]:
    """Yield the name of each agent, and whether it is slow: the last ones are."""
    for number, name in enumerate(agent_names(plan.agents)):
        yield name, number >= plan.agents - plan.slow_agents


def _desk(traffic: Traffic) -> Desk:
    # Once there is nothing more to say, nobody wants to wait for the rest.
    return Desk(lambda: 0.0 if traffic.is_over else SLOW_ANSWER)
