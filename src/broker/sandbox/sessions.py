"""Sessions with RabbitMQ, one after the other: for programs that outlive RabbitMQ."""

import math
from collections.abc import Awaitable, Callable, Iterable

import structlog
import trio

from broker.amqp import Rabbit, Session, SessionLostError, SessionParameters
from broker.net.backoff import Backoff

_LONGEST_PAUSE = 5.0
"""Seconds between two tries to reach RabbitMQ."""

_log = structlog.get_logger(__name__)


async def keep_session(
    rabbit: Rabbit,
    candidates: Iterable[SessionParameters],
    use: Callable[[Session], Awaitable[None]],
    *,
    patience: float = math.inf,
) -> None:
    """Open a session with RabbitMQ and use it; when it is lost, open another and start again.

    Args:
        candidates: How to open each; without an end.
        use: What is done with a session. When it returns, this returns.
        patience: Seconds without a session after which RabbitMQ counts as gone.

    Raises:
        SessionLostError: RabbitMQ is gone.
    """
    backoff = Backoff(maximum=_LONGEST_PAUSE)
    lost_at = trio.current_time()
    for parameters in candidates:
        opened_at = math.inf
        try:
            async with rabbit.open_session(parameters) as session:
                opened_at = trio.current_time()
                _log.info("amqp_connected", endpoint=str(parameters.endpoint))
                await use(session)
                return
        except SessionLostError as error:
            now = trio.current_time()
            if opened_at < math.inf:
                lost_at = now
            if now - lost_at > patience:
                raise
            pause = backoff.after(now - opened_at)
            _log.warning("amqp_lost", error=str(error), retry_in_seconds=round(pause, 1))
        await trio.sleep(pause)
