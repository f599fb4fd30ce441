"""The stand-in central server as a program of its own: `broker sandbox serve`.

It takes the settings that a broker takes, advertises `WEBSOCKET_URL`, and demands
`BROKER_WEBSOCKET_TOKEN` when there is one.
"""

from collections.abc import Mapping
from functools import partial

import structlog
import trio

from broker.amqp import Rabbit, Session
from broker.concurrency.error_groups import first_error
from broker.concurrency.signals import Interruption
from broker.sandbox.agent_heartbeats import AGENTS_QUEUE, AgentHeartbeats
from broker.sandbox.central_server import CentralServer
from broker.sandbox.server_queues import (
    QUEUES,
    UNKNOWN_QUEUE,
    FromBroker,
    advertisement,
    relay,
)
from broker.sandbox.sessions import keep_session
from broker.sandbox.standalone import run, session_candidates
from broker.settings import Settings
from broker.telemetry.one_line import complain

_log = structlog.get_logger(__name__)


def serve(given: Mapping[str, str], *, host: str, port: int) -> int:
    """Serve until a signal stops it, and return the exit code; 2 also for an address in use."""
    code = 0
    try:
        code = run(given, partial(_serve, host, port))
    except* OSError as errors:
        error = first_error(errors)
        code = complain(f"cannot listen on {host}:{port}: {error.strerror or error}")
    return code


async def _serve(host: str, port: int, settings: Settings, rabbit: Rabbit, _: Interruption) -> None:
    listeners = await trio.open_tcp_listeners(port, host=host)
    server = CentralServer(port, settings.broker_websocket_token)
    heartbeats = AgentHeartbeats(server)
    _log.info("server_listening", host=host, port=port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, listeners)
        await keep_session(
            rabbit,
            session_candidates(settings, name="sandbox server", queues=(*QUEUES, AGENTS_QUEUE)),
            partial(_work, heartbeats, settings.websocket_url),
        )


async def _work(heartbeats: AgentHeartbeats, websocket_url: str, session: Session) -> None:
    await session.publish([advertisement(websocket_url)])
    async with trio.open_nursery() as nursery:
        await nursery.start(relay, session, _notice)
        nursery.start_soon(heartbeats.run, session)


def _notice(message: FromBroker) -> None:
    _log.info(
        "from_broker",
        message_type=message.message_type,
        message_id=message.original_message_id or message.message_id,
        receiver_id=message.receiver_id,
        reason=message.reason,
    )
    if message.is_routed and message.queue == UNKNOWN_QUEUE:
        _log.warning("agent_without_queue", receiver_id=message.receiver_id, kept_in=UNKNOWN_QUEUE)
