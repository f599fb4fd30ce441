"""The service: what runs, how it is supervised, and in which order it stops."""

import faulthandler
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import randrange

import structlog
import trio

from broker.amqp import Rabbit, Refusals, SessionParameters, SettlementObserver, open_rabbit
from broker.amqp.link import AmqpSupervisor
from broker.central import CentralLink, ServerAddress, SessionTerms
from broker.concurrency.signals import watch_stop_signals
from broker.concurrency.wakeup import Gate
from broker.net.backoff import Backoff
from broker.router.decide import Topology
from broker.router.mailbox import Mailbox
from broker.router.task import Router
from broker.settings import Settings
from broker.status.vitals import Vitals
from broker.telemetry.logs import configure_logging
from broker.telemetry.tally import MessageTally, PublishTally, ServerTally
from broker.tracing.traces import open_traces
from broker.version import __version__

EXIT_STOPPED = 0
EXIT_FAILED = 1

_CLOSING_TIME = 4.0
"""Seconds of the stop that are kept for closing connections, or half of it when it is short."""
_EXPORT_TIME = 2.0
"""Seconds, while connections close, that the last spans have to leave, or a quarter of the stop."""

_SWITCH_INTERVAL = 0.001
"""Seconds after which the AMQP thread and Trio ask each other for the interpreter's lock. With
Python's 5 ms a tenth of the throughput is lost, and messages wait longer under load."""

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Run the broker until SIGINT, SIGTERM or SIGHUP.

    Args:
        settings: The settings.

    Returns:
        The exit code: 0 after a graceful stop with every message settled, else 1.
    """
    configure_logging(settings.broker_log_level, settings.broker_log_format)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        graceful = trio.run(_serve, settings)
    except Exception:  # noqa: BLE001 - the last resort: it is logged and becomes the exit code
        _log.critical("broker_failed", exc_info=True)
        return EXIT_FAILED
    finally:
        faulthandler.cancel_dump_traceback_later()
    _log.info("broker_stopped", graceful=graceful)
    return EXIT_STOPPED if graceful else EXIT_FAILED


async def _serve(settings: Settings) -> bool:
    async with trio.open_nursery() as nursery:
        stop_requested = trio.Event()
        request = partial(request_stop, stop_requested, settings.broker_shutdown_timeout)
        await nursery.start(watch_stop_signals, request)
        graceful = await serve(settings, stop_requested)
        nursery.cancel_scope.cancel()
    return graceful


def request_stop(
    stop_requested: trio.Event, shutdown_timeout: float, signum: signal.Signals
) -> None:
    """Request the stop at the first signal; exit at once at the second.

    Args:
        stop_requested: Set at the first signal.
        shutdown_timeout: Seconds after the first signal when the process ends in any case, with
            the stacks of all threads on standard error.
        signum: The signal.
    """
    if stop_requested.is_set():
        _log.warning("leaving_at_once", signal=signum.name)
        os._exit(EXIT_FAILED)
    _log.info("stopping", signal=signum.name)
    # Runs in a thread without Python, so that nothing in this process can hold it up.
    stacks = sys.stderr or os.open(os.devnull, os.O_WRONLY)  # None when closed at the start
    faulthandler.dump_traceback_later(shutdown_timeout, exit=True, file=stacks)
    stop_requested.set()


async def serve(
    settings: Settings,
    stop_requested: trio.Event,
    *,
    open_rabbit: Callable[[], AbstractAsyncContextManager[Rabbit]] = open_rabbit,
) -> bool:
    """Run the broker until a stop is requested, then stop in order.

    The order: stop consuming, let the router empty its mailbox, settle what comes of it, and only
    then close the WebSocket and the connections to RabbitMQ.

    Args:
        settings: The settings.
        stop_requested: Begins the stop.
        open_rabbit: Starts the AMQP thread.

    Returns:
        Whether every message taken was settled.
    """
    async with open_rabbit() as rabbit:
        return await _serve_with(settings, rabbit, stop_requested)


async def _serve_with(settings: Settings, rabbit: Rabbit, stop_requested: trio.Event) -> bool:
    broker_id = f"broker_{randrange(10_000):04}"
    _log.info("broker_starting", version=__version__, broker_id=broker_id, pid=os.getpid())
    consumption = Gate()
    messages, publishings, from_server = MessageTally(), PublishTally(), ServerTally()
    refusals = Refusals()
    central = _central_link(settings, broker_id, from_server)
    queues = _queue_names(settings)
    traces = open_traces(os.environ, lambda: supervisor.endpoint)
    supervisor = _supervisor(
        settings,
        rabbit,
        queues=queues,
        broker_id=broker_id,
        consumption=consumption,
        tally=publishings,
        refusals=refusals,
        observer=traces,
    )
    router = Router(
        topology=queues,
        broker_id=broker_id,
        max_message_bytes=settings.broker_max_message_bytes,
        refusals=refusals,
        max_hops=settings.broker_max_hops,
        max_agents=settings.broker_max_agents,
        tally=messages,
        registry_ttl=settings.broker_registry_ttl,
        consumption=consumption,
        status_wanted=central.want_status,
        status_answered=central.status_answered,
        server_available=central.server_available,
        trace=None if traces is None else traces.record,
    )
    mailbox = Mailbox(queues.inputs)
    vitals = Vitals(
        broker_name=settings.broker_name,
        queues=queues,
        prefetch=settings.broker_prefetch,
        router=router,
        mailbox=mailbox,
        amqp=supervisor,
        rabbit=rabbit,
        central=central,
        consumption=consumption,
        messages=messages,
        publishings=publishings,
        server=from_server,
        stop_requested=stop_requested,
    )
    async with trio.open_nursery() as nursery:
        routing = Supervised("router", partial(router.run, mailbox))
        linking = Supervised("central link", partial(central.run, mailbox.send_news))
        consuming = Supervised("AMQP supervisor", partial(supervisor.run, mailbox.deliver))
        observing = Supervised("HTTP endpoint", partial(_serve_http, settings, vitals))
        for task in (routing, linking, consuming, observing):
            nursery.start_soon(task.run)
        await stop_requested.wait()
        settled = await supervisor.drain()
        nursery.start_soon(observing.stop)
        if traces is not None:
            export_time = min(_EXPORT_TIME, settings.broker_shutdown_timeout / 4)
            nursery.start_soon(traces.close, export_time)
        for task in (linking, consuming, routing):
            await task.stop()
    return settled


async def _serve_http(settings: Settings, vitals: Vitals) -> None:
    if settings.broker_http_port is None:
        await trio.sleep_forever()
    else:
        # Who does without it saves the memory.
        from broker.status.http import serve_http  # noqa: PLC0415

        await serve_http(vitals, settings.broker_http_host, settings.broker_http_port)


class Supervised:
    """A task that must not end unless it is stopped.

    Args:
        name: Its name, for the error.
        function: The task; it runs until it is cancelled.
    """

    def __init__(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._function = function
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    async def run(self) -> None:
        """Run the task until `stop` is called.

        Raises:
            RuntimeError: It ended though nobody asked it to.
        """
        with self._scope:
            await self._function()
        if not self._scope.cancelled_caught:
            raise RuntimeError(f"{self._name} ended though nobody asked it to")
        self._ended.set()

    async def stop(self) -> None:
        """Cancel the task and wait until it has cleaned up."""
        self._scope.cancel()
        await self._ended.wait()


def _queue_names(settings: Settings) -> Topology:
    return Topology(
        inputs=settings.broker_input_queue,
        outputs=settings.broker_output_queue,
        metadata=settings.broker_metadata_queue,
        advertisement=settings.broker_advertisement_queue,
        dead_letter=settings.broker_dead_letter_queue,
        registry_exchange=settings.broker_registry_exchange,
    )


def _central_link(settings: Settings, broker_id: str, tally: ServerTally) -> CentralLink:
    address = ServerAddress(
        url=settings.websocket_url,
        token=settings.broker_websocket_token,
        token_file=settings.secret_file("BROKER_WEBSOCKET_TOKEN"),
        origin=settings.websocket_origin,
        subprotocols=settings.websocket_subprotocol,
        tls=settings.websocket_tls,
        max_message_bytes=settings.broker_websocket_max_bytes,
    )
    return CentralLink(
        address,
        SessionTerms(settings.broker_name, silence=settings.broker_websocket_silence),
        broker_id=broker_id,
        follow_advertised_url=settings.broker_follow_advertised_url,
        backoff=Backoff(),
        tally=tally,
    )


def _supervisor(
    settings: Settings,
    rabbit: Rabbit,
    *,
    queues: Topology,
    broker_id: str,
    consumption: Gate,
    tally: PublishTally,
    refusals: Refusals,
    observer: SettlementObserver | None,
) -> AmqpSupervisor:
    shutdown_timeout = settings.broker_shutdown_timeout
    drain_timeout = max(shutdown_timeout - _CLOSING_TIME, shutdown_timeout / 2)
    sessions = [
        SessionParameters(
            endpoint=endpoint,
            name=f"{settings.broker_name} {broker_id}",
            queues=(
                *queues.inputs,
                queues.metadata,
                queues.advertisement,
                *queues.outputs,
                queues.dead_letter,
            ),
            fanouts=(queues.registry_exchange,),
            prefetch=settings.broker_prefetch,
            drain_timeout=drain_timeout,
            tls=settings.amqp_tls,
            nodes=settings.amqp_nodes,
            tally=tally,
            refusals=refusals,
            observer=observer,
        )
        for endpoint in settings.amqp_endpoints
    ]
    return AmqpSupervisor(
        rabbit.open_session,
        sessions=sessions,
        gated_queues=queues.inputs,
        other_queues=(queues.registry_exchange, queues.metadata, queues.advertisement),
        consumption=consumption,
        backoff=Backoff(),
    )
