"""What makes a part of the sandbox a program of its own, as in a container."""

import math
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle

import structlog
import trio

from broker.amqp import Rabbit, Session, SessionLostError, SessionParameters, open_rabbit
from broker.concurrency.signals import Interruption, run_interruptible
from broker.net.backoff import Backoff
from broker.settings import Settings, SettingsError, load_settings
from broker.telemetry.logs import configure_logging
from broker.telemetry.one_line import complain

_LONGEST_PAUSE = 5.0
"""Seconds between two tries to reach RabbitMQ."""
_DRAIN_TIMEOUT = 5.0

_log = structlog.get_logger(__name__)


def run(main: Callable[[Settings, Rabbit, Interruption], Awaitable[None]]) -> int:
    """Run a program until SIGINT, SIGTERM or SIGHUP, with the settings that a broker would have.

    The signals cancel it unless it says how else to stop.

    Returns:
        The exit code: 0 when it was stopped, 2 for a wrong configuration.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        return complain(*error.problems)
    configure_logging(settings.broker_log_level, settings.broker_log_format)

    async def with_rabbit(interruption: Interruption) -> None:
        async with open_rabbit() as rabbit:
            await main(settings, rabbit, interruption)

    trio.run(run_interruptible, with_rabbit, None)
    return 0


async def keep_session(
    settings: Settings,
    rabbit: Rabbit,
    use: Callable[[Session], Awaitable[None]],
    *,
    name: str,
    queues: Sequence[str],
) -> None:
    """Open a session with RabbitMQ and use it; when it is lost, open another and start again.

    Args:
        use: What is done with a session. When it returns, this returns.
        name: Names the connections in RabbitMQ's own listings.
        queues: Queues that are created if they are missing.
    """
    backoff = Backoff(maximum=_LONGEST_PAUSE)
    for endpoint in cycle(settings.amqp_endpoints):
        parameters = SessionParameters(
            endpoint,
            name=name,
            queues=tuple(queues),
            drain_timeout=_DRAIN_TIMEOUT,
            tls=settings.amqp_tls,
            nodes=settings.amqp_nodes,
        )
        opened_at = math.inf
        try:
            async with rabbit.open_session(parameters) as session:
                opened_at = trio.current_time()
                _log.info("amqp_connected", endpoint=str(endpoint))
                await use(session)
                return
        except SessionLostError as error:
            pause = backoff.after(trio.current_time() - opened_at)
            _log.warning("amqp_lost", error=str(error), retry_in_seconds=round(pause, 1))
        await trio.sleep(pause)
