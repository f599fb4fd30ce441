"""The HTTP endpoint: Hypercorn on Trio, started anew whenever it fails."""

import errno
import logging
import os
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog
import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio import serve
from starlette.applications import Starlette

from broker.concurrency.error_groups import first_error
from broker.net.backoff import Backoff
from broker.status.http.application import INTERVAL, application
from broker.status.rates import Counters, RateHistory
from broker.status.vitals import Vitals

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework

_UNREAD_TIMEOUT = 3.0
"""Seconds after which a client that takes nothing of what it is sent is hung up on."""

_log = structlog.get_logger(__name__)


async def serve_http(vitals: Vitals, host: str, port: int) -> None:
    """Serve probes, metrics and status until cancelled.

    Whatever fails is logged and tried again. When cancelled it hangs up on everybody: at once,
    or within three seconds on a client that does not read.

    Args:
        port: 0 means any free one, which is logged.
    """
    history = RateHistory()
    app = application(vitals, history)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_sample, vitals, history)
        await _keep_serving(app, host, port)


async def _sample(vitals: Vitals, history: RateHistory) -> None:
    due = trio.current_time()
    while True:
        history.add(_counters(vitals))
        vitals.pauses.look(is_paused=vitals.is_paused)
        due += INTERVAL
        await trio.sleep_until(due)


def _counters(vitals: Vitals) -> Counters:
    confirms = vitals.publishings.confirm_seconds
    return Counters(
        vitals.messages.received.total(),
        vitals.publishings.confirmed,
        confirms.total,
        sum(confirms.counts),
    )


async def _keep_serving(app: Starlette, host: str, port: int) -> None:
    backoff = Backoff()
    while True:
        started = trio.current_time()
        error = await _serve(app, host, port)
        pause = backoff.after(trio.current_time() - started)
        _log.warning(
            "http_failed",
            address=f"{host}:{port}",
            error=_described(error),
            retry_in_seconds=round(pause, 1),
        )
        await trio.sleep(pause)


async def _serve(app: Starlette, host: str, port: int) -> Exception:
    try:
        config = _Config(await _address(host), port)
        async with trio.open_nursery() as nursery:
            # Starlette types the messages of ASGI more loosely than Hypercorn does.
            framework = cast("ASGIFramework", app)
            urls = await nursery.start(partial(serve, framework, config, mode="asgi"))
            _log.info("http_listening", url=urls[0])
    except Exception as error:  # noqa: BLE001 - nothing in here may end the service
        return error
    return RuntimeError("the server ended though nobody asked it to")


async def _address(host: str) -> str:
    # Hypercorn would look the name up in the thread that routes, and hold everything up meanwhile.
    found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # Of a name with both, IPv4: that is what the broker's own commands and most others try.
    _, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return str(address[0])


def _described(error: Exception) -> str:
    if isinstance(error, ExceptionGroup):
        error = first_error(error)
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)  # Python adds the address, which is logged anyway
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


class _Config(Config):
    """Hypercorn's configuration."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        # Rendered like everything else that is logged.
        self.errorlog = logging.getLogger("hypercorn.error")
        self.include_server_header = False
        self.graceful_timeout = 0.0

    def create_sockets(self) -> Sockets:
        return Sockets([], [_listening(*self._address)], [])


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens, at `::` for IPv4 as well, and without IPv6 for IPv4 alone."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - it is what was asked for
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said explicitly, because the system may be set up to keep the families apart.
    listening = socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    # The connections inherit both from the socket that listens.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Hypercorn sends in a shielded scope and without a deadline: a client that does not read could
    # hold up the stop forever. Where the system has no such option there is no remedy.
    with suppress(AttributeError):
        listening.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNREAD_TIMEOUT * 1000)
        )
    return listening
