"""The whole broker in one thread and in no time, among peers that fail by chance.

Everything of the broker runs as it does in a process of its own: only the sockets, the thread of
the AMQP side and the clock are replaced.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, chdir, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from random import choice, getrandbits, randint, random, sample
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch
from uuid import UUID

import trio
from aiormq.tools import Countdown
from trio.testing import MockClock

from broker import service
from broker.amqp import Rabbit
from broker.amqp import connection as amqp_connection
from broker.core import registry
from broker.core.routing.receivers import ReceiverRule
from broker.router import choosing, decide
from broker.router import task as router
from broker.router.guarded_policy import GuardedPolicy
from broker.settings import Settings, load_settings
from tests.lab.websocket_peers import Network
from tests.simulation.central_server import CentralServer
from tests.simulation.guest_loop import GuestLoop, GuestPortal
from tests.simulation.ledger import Ledger
from tests.simulation.rabbitmq import ADVERTISEMENT, DEAD_LETTERS, INPUT, METADATA, OUTPUT, Rabbitmq
from tests.simulation.random_faults import RandomFaults
from tests.simulation.seeding import seeded
from tests.simulation.trace import Trace, logged_to
from tests.simulation.traffic import AGENTS, Traffic
from tests.simulation.watched_registry import WatchedRegistry, watched_route

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

SHUTDOWN_TIMEOUT = 25.0
RECOVERY = 200.0
"""Simulated seconds from the repair of the faults until everything must be settled: a session that
hangs is given up after 20 s, the longest pause is 10 s, and some of that comes twice."""

_RECOVERS = 0.7
"""The chance that the faults are repaired before the broker is stopped."""


def simulate(seed: int) -> Trace:
    trace = Trace()
    with seeded(seed), _substituted(trace):
        trio.run(partial(_live, trace), clock=MockClock(autojump_threshold=0))
    return trace


async def _live(trace: Trace) -> None:
    ledger = Ledger(trace)
    settings = replace(
        _settings(),
        broker_prefetch=choice([1, 2, 5, 20]),
        broker_registry_ttl=choice([0.0, 5.0, 60.0]),
        broker_websocket_silence=choice([20.0, 45.0]),
        broker_routing_policy=choice(["random", "least_outstanding", "consistent_hash"]),
        broker_receiver=choice(list(ReceiverRule)).value,
        broker_answer_timeout=choice([1.0, 300.0]),
        broker_max_unanswered=choice([2, 100_000]),
    )
    rabbitmq = Rabbitmq(ledger, trace, settings.broker_prefetch)
    network = Network()
    server = CentralServer(network, trace)
    server.online.update(sample(AGENTS, randint(0, 3)))
    traffic = Traffic(rabbitmq, ledger)
    loop = GuestLoop(rabbitmq)
    loop.set_exception_handler(lambda _, context: _complain(trace, context))
    broker = _Broker(settings, loop, trace)
    faults = RandomFaults(rabbitmq, server, traffic, trace)
    with patch.object(trio, "open_tcp_stream", network.open_tcp_stream), closing(loop):
        # The broker must have its loop as long as it lives, also if something here fails.
        async with trio.open_nursery() as hosting, trio.open_nursery() as nursery:
            hosting.start_soon(loop.host)
            for task in (server.run, partial(_beat, rabbitmq), broker.run):
                nursery.start_soon(task)
            await faults.inject(randint(5, 30))
            if is_to_recover := random() < _RECOVERS:
                faults.repair()
                await _recover(rabbitmq, trace)
                await _probe(rabbitmq, server, traffic, trace)
            else:
                # It goes on while the broker stops.
                nursery.start_soon(faults.inject, 1000)
            put_back = ledger.put_back
            graceful = await broker.stop()
            if graceful and ledger.put_back > put_back and not rabbitmq.has_hung:
                trace.violation("it claims to have settled all, and did not")
            # Nobody knows what a connection that hangs has read of the acknowledgements.
            if is_to_recover and not graceful and not rabbitmq.has_hung:
                trace.violation("nothing was left to settle, but it says so")
            hosting.cancel_scope.cancel()
        if rabbitmq.connections or asyncio.all_tasks(loop):
            trace.violation("it left something behind")
    ledger.check_nothing_lost(is_drained=is_to_recover)


class _Broker:
    def __init__(self, settings: Settings, loop: GuestLoop, trace: Trace) -> None:
        self._settings = settings
        self._rabbit = Rabbit(cast("BlockingPortal", GuestPortal(loop)))
        self._trace = trace
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._graceful = False

    async def run(self) -> None:
        try:
            self._graceful = await service.serve(
                self._settings, self._stop, open_rabbit=lambda: nullcontext(self._rabbit)
            )
        except Exception as error:  # noqa: BLE001 - no peer may cause one
            self._trace.violation(f"the broker failed: {error!r}")
        self._stopped.set()

    async def stop(self) -> bool:
        self._trace.note("stop requested")
        self._stop.set()
        with trio.move_on_after(SHUTDOWN_TIMEOUT) as scope:
            await self._stopped.wait()
        if scope.cancelled_caught:
            self._trace.violation("the stop takes too long")
        self._trace.note(f"stopped, graceful: {self._graceful}")
        return self._graceful


async def _recover(rabbitmq: Rabbitmq, trace: Trace) -> None:
    with trio.move_on_after(RECOVERY) as scope:
        while not rabbitmq.is_drained:
            happened = len(trace.lines)
            rabbitmq.deliver(1000)
            rabbitmq.confirm(1000)
            await trio.sleep(0.01 if len(trace.lines) > happened else 1.0)
    if scope.cancelled_caught:
        trace.violation("it does not recover")


async def _probe(rabbitmq: Rabbitmq, server: CentralServer, traffic: Traffic, trace: Trace) -> None:
    """Show that the broker knows who is online, once the server had the time to tell."""
    with trio.move_on_after(RECOVERY) as scope:
        while not server.has_broker:
            await trio.sleep(1)
    if scope.cancelled_caught:
        trace.violation("it does not come back to the server")
    server.tell_all()
    await trio.sleep(1)
    rabbitmq.receivers = frozenset(server.online)
    for _ in range(3):
        traffic.chat()
    await _recover(rabbitmq, trace)


async def _beat(rabbitmq: Rabbitmq) -> None:
    while True:
        await trio.sleep(10)
        for connection in rabbitmq.connections:
            connection.beat()


def _complain(trace: Trace, context: dict[str, Any]) -> None:
    trace.violation(f"asyncio complains: {context.get('message')} {context.get('exception')!r}")


async def host_itself(host: str, _: int) -> str:
    """Stand in for what connects a socket: the loop makes connections of host names."""
    return host


@contextmanager
def _substituted(trace: Trace) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(logged_to(trace))
        # aiormq tells of each lost connection with a traceback, which takes longer than the rest.
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        for target, name, substitute in (
            (router, "AgentRegistry", partial(WatchedRegistry, trace)),
            # So that the few agents there are make a large update.
            (router, "_AT_ONCE", 2),
            (registry, "_SLICE", 2),
            (amqp_connection, "connect_socket", host_itself),
            (decide, "route", watched_route),
            # How long a policy takes depends on the machine.
            (choosing, "GuardedPolicy", partial(GuardedPolicy, clock=trio.current_time)),
            (decide, "uuid4", lambda: UUID(int=getrandbits(128))),
            (secrets, "token_hex", lambda size: f"{getrandbits(8 * size):0{2 * size}x}"),
            (Countdown, "_now", staticmethod(trio.current_time)),
        ):
            stack.enter_context(patch.object(target, name, substitute))
        yield


@cache
def _settings() -> Settings:
    # Away from the variables of this process and from any `.env`.
    with patch.dict(os.environ, clear=True), TemporaryDirectory() as path, chdir(path):
        return load_settings(
            {
                "websocket_url": "ws://central/ws",
                "broker_shutdown_timeout": str(SHUTDOWN_TIMEOUT),
                "broker_http_port": "off",
                "broker_input_queue": INPUT,
                "broker_output_queue": OUTPUT,
                "broker_metadata_queue": METADATA,
                "broker_advertisement_queue": ADVERTISEMENT,
                "broker_dead_letter_queue": DEAD_LETTERS,
            }
        )
