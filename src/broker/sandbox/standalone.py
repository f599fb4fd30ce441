"""What makes a part of the sandbox a program of its own, as in a container."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import cycle

import trio

from broker.amqp import Rabbit, SessionParameters, open_rabbit
from broker.concurrency.signals import Interruption, run_interruptible
from broker.settings import Settings, SettingsError, load_settings
from broker.telemetry.logs import configure_logging
from broker.telemetry.one_line import complain

_DRAIN_TIMEOUT = 5.0


def run(
    given: Mapping[str, str], main: Callable[[Settings, Rabbit, Interruption], Awaitable[None]]
) -> int:
    """Run a program until SIGINT, SIGTERM or SIGHUP, with the settings that a broker would have.

    The signals cancel it unless it says how else to stop.

    Args:
        given: The settings that the command line gives; see `load_settings`.

    Returns:
        The exit code: 0 when it was stopped, 2 for a wrong configuration.
    """
    try:
        settings = load_settings(given)
    except SettingsError as error:
        return complain(*error.problems)
    configure_logging(settings.broker_log_level, settings.broker_log_format)

    async def with_rabbit(interruption: Interruption) -> None:
        async with open_rabbit() as rabbit:
            await main(settings, rabbit, interruption)

    trio.run(run_interruptible, with_rabbit, None)
    return 0


def session_candidates(
    settings: Settings, *, name: str, queues: Sequence[str]
) -> Iterator[SessionParameters]:
    """Yield how to open a session with each of the configured nodes, again and again.

    Args:
        name: Names the connections in RabbitMQ's own listings.
        queues: Queues that are created if they are missing.
    """
    for endpoint in cycle(settings.amqp_endpoints):
        yield SessionParameters(
            endpoint,
            name=name,
            queues=tuple(queues),
            drain_timeout=_DRAIN_TIMEOUT,
            tls=settings.amqp_tls,
            nodes=settings.amqp_nodes,
        )
