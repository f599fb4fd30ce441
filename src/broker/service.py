"""The service: its nurseries, and with them the order in which it stops."""

import faulthandler
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import structlog
import trio

from broker.amqp import Rabbit, open_rabbit
from broker.assembly import Parts, StopTimes, assemble
from broker.concurrency.signals import watch_stop_signals
from broker.core.routing.policy import Policy
from broker.router.policies import find_policy
from broker.settings import Settings
from broker.telemetry.logs import configure_logging

EXIT_STOPPED = 0
EXIT_FAILED = 1

_SWITCH_INTERVAL = 0.001
"""Seconds after which the AMQP thread and Trio ask each other for the interpreter's lock. With
Python's 5 ms a tenth of the throughput is lost, and messages wait longer under load."""

_log = structlog.get_logger(__name__)


def run(settings: Settings, policy: str | Policy | None = None) -> int:
    """Run the broker as this process: until SIGINT, SIGTERM or SIGHUP, with logging set up.

    To be called in the main thread, outside of Trio. The process ends after
    `broker_shutdown_timeout` seconds of a stop in any case, and at once on a second signal.

    Args:
        policy: Chooses the receivers, in the place of the one that the settings name.

    Returns:
        The exit code: 0 after a graceful stop with every message settled, else 1.
    """
    configure_logging(settings.broker_log_level, settings.broker_log_format)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        graceful = trio.run(_until_signalled, settings, policy)
    except Exception:  # noqa: BLE001 - the last resort: it is logged and becomes the exit code
        _log.critical("broker_failed", exc_info=True)
        return EXIT_FAILED
    finally:
        faulthandler.cancel_dump_traceback_later()
    _log.info("broker_stopped", graceful=graceful)
    return EXIT_STOPPED if graceful else EXIT_FAILED


async def _until_signalled(settings: Settings, policy: str | Policy | None) -> bool:
    stop = trio.Event()
    async with trio.open_nursery() as root:
        request = partial(request_stop, stop, settings.broker_shutdown_timeout)
        await root.start(watch_stop_signals, request)
        graceful = await serve(settings, stop, policy)
        root.cancel_scope.cancel()
    return graceful


def request_stop(stop: trio.Event, shutdown_timeout: float, signum: signal.Signals) -> None:
    """Request the stop at the first signal; exit at once at the second.

    Args:
        shutdown_timeout: Seconds after the first signal when the process ends in any case, with
            the stacks of all threads on standard error.
    """
    if stop.is_set():
        _log.warning("leaving_at_once", signal=signum.name)
        os._exit(EXIT_FAILED)
    _log.info("stopping", signal=signum.name)
    # Runs in a thread without Python, so that nothing in this process can hold it up.
    stacks = sys.stderr or os.open(os.devnull, os.O_WRONLY)  # None when closed at the start
    faulthandler.dump_traceback_later(shutdown_timeout, exit=True, file=stacks)
    stop.set()


async def serve(
    settings: Settings,
    stop: trio.Event,
    policy: str | Policy | None = None,
    *,
    open_rabbit: Callable[[], AbstractAsyncContextManager[Rabbit]] = open_rabbit,
) -> bool:
    """Run the broker under Trio until a stop is requested, then stop in order.

    It handles no signals and leaves logging alone. Cancelling it closes all connections; messages
    that are not settled by then return to their queues.

    Args:
        stop: Begins the stop, which takes up to `broker_shutdown_timeout` seconds.
        policy: Chooses the receivers, in the place of the one that the settings name.
        open_rabbit: Starts the AMQP thread; by default one of its own, which ends with this.

    Returns:
        Whether every message taken was settled.

    Raises:
        ExceptionGroup: A part of the broker failed; all others were cancelled. The absence of
            RabbitMQ or of the server is no failure.
        PolicyNotFoundError: The settings name a policy that cannot be loaded.
    """
    if policy is None:
        policy = find_policy(settings.broker_routing_policy)
    async with open_rabbit() as rabbit:
        parts = assemble(settings, policy, rabbit, stop)
        return await run_parts(parts, stop, StopTimes.of(settings))


async def run_parts(parts: Parts, stop: trio.Event, times: StopTimes) -> bool:
    """Run the parts until a stop is requested. Their nurseries end from the inside out.

    First the link stops consuming, the router empties its mailbox, and all of that is published,
    confirmed and acknowledged. Then the sources close their connections, and at last go the router,
    to which they hand over until then, and HTTP, which shows all of them.

    Returns:
        Whether every message taken was settled.
    """
    settled = False
    async with trio.open_nursery() as window:
        window.start_soon(never_returns, "HTTP endpoint", parts.http)
        window.start_soon(parts.report_ready)
        async with trio.open_nursery() as routing:
            routing.start_soon(never_returns, "router", parts.router)
            async with trio.open_nursery() as sources:
                sources.start_soon(never_returns, "central link", parts.central)
                sources.start_soon(never_returns, "AMQP link", parts.amqp)
                await stop.wait()
                window.cancel_scope.deadline = trio.current_time() + times.close_within
                with trio.move_on_after(times.settle_within):
                    settled = await parts.drain()
                window.start_soon(parts.export_traces)
                sources.cancel_scope.cancel()
            routing.cancel_scope.cancel()
        window.cancel_scope.cancel()
    return settled


async def never_returns(name: str, part: Callable[[], Awaitable[None]]) -> None:
    """Run a part of the broker until it is cancelled, and fail if it returns."""
    await part()
    raise RuntimeError(f"{name} ended though nobody asked it to")
