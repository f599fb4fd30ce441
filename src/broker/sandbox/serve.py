"""The stand-in central server as a program of its own: `python -m broker.sandbox.serve`.

It takes the settings that a broker takes, advertises `WEBSOCKET_URL`, and demands
`BROKER_WEBSOCKET_TOKEN` when there is one.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial

import structlog
import trio

from broker.amqp import Rabbit, Session
from broker.concurrency.error_groups import first_error
from broker.concurrency.signals import Interruption
from broker.sandbox.agent_heartbeats import AGENTS_QUEUE, AgentHeartbeats
from broker.sandbox.central_server import HOST, CentralServer
from broker.sandbox.server_queues import QUEUES, FromBroker, advertise, relay
from broker.sandbox.standalone import keep_session, run
from broker.settings import Settings
from broker.telemetry.one_line import complain

DEFAULT_PORT = 8765
_HIGHEST_PORT = 65_535

_log = structlog.get_logger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal stops it, and return the exit code; 2 also for an address in use."""
    parser = ArgumentParser(
        "python -m broker.sandbox.serve", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="port to listen on (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    if not 0 < given.port <= _HIGHEST_PORT:
        parser.error(f"argument --port: must be a port from 1 to {_HIGHEST_PORT}")
    code = 0
    try:
        code = run(partial(_serve, given.host, given.port))
    except* OSError as errors:
        error = first_error(errors)
        code = complain(f"cannot listen on {given.host}:{given.port}: {error.strerror or error}")
    return code


async def _serve(host: str, port: int, settings: Settings, rabbit: Rabbit, _: Interruption) -> None:
    listeners = await trio.open_tcp_listeners(port, host=host)
    server = CentralServer(port, settings.broker_websocket_token)
    heartbeats = AgentHeartbeats(server)
    _log.info("server_listening", host=host, port=port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, listeners)
        await keep_session(
            settings,
            rabbit,
            partial(_work, heartbeats, settings.websocket_url),
            name="sandbox server",
            queues=(*QUEUES, AGENTS_QUEUE),
        )


async def _work(heartbeats: AgentHeartbeats, websocket_url: str, session: Session) -> None:
    await advertise(session, websocket_url)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
