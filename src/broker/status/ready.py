"""Log that the broker is ready, for whoever watches it start."""

import structlog
import trio

from broker.status.readiness import readiness
from broker.status.vitals import Vitals
from broker.version import __version__

_INTERVAL = 0.1
"""Seconds between two looks. Readiness is a matter of three tasks and a thread, which tell nobody
of their changes."""

_log = structlog.get_logger(__name__)


async def report_ready(vitals: Vitals) -> None:
    """Log once, when all checks pass for the first time, what the broker works with.

    What comes and goes later has its own events, such as `amqp_lost` and `routing_started`.
    """
    while any(check.problem is not None for check in readiness(vitals)):  # noqa: ASYNC110 - see there
        await trio.sleep(_INTERVAL)
    amqp, queues, registry = vitals.amqp, vitals.queues, vitals.router.registry
    _log.info(
        "ready",
        seconds=round(trio.current_time() - vitals.started, 1),
        version=__version__,
        endpoint=str(amqp.endpoint),
        product=amqp.product,
        url=vitals.central.connectivity.status().peer,
        input_queues=queues.inputs,
        output_queues=queues.outputs,
        agents_online=registry.online_count,
        agents_known=registry.known_count,
    )
