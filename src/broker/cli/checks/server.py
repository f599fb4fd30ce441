"""The central server as it is configured."""

import math
from urllib.parse import urlsplit

import trio
from trio_websocket import WebSocketConnection

from broker.central.address import ServerAddress
from broker.central.session import CentralSession, SessionTerms
from broker.central.websocket import RefusedError, WebSocketError, open_websocket
from broker.cli.checks.item import Item, failed, held
from broker.cli.checks.reach import Target, reach, refusal_after_tls, speaks_tls, tls_wanted
from broker.cli.output import address
from broker.concurrency.wakeup import Wakeup
from broker.core.messages import ServerNews
from broker.telemetry.tally import ServerTally

_DEFAULT_PORTS = {"ws": 80, "wss": 443}


async def check_server(server: ServerAddress, terms: SessionTerms, *, register: bool) -> list[Item]:
    """Check the server, in half a minute at most; return the items as far as it came.

    A server may have one session for each name, so the terms must not name a running broker.
    """
    url = urlsplit(server.url)
    host, port = url.hostname or "", url.port or _DEFAULT_PORTS[url.scheme]
    target = Target(
        subject=f"server {address(host, port)}",
        host=host,
        port=port,
        settings="WEBSOCKET_URL",
        url_setting="WEBSOCKET_URL",
        schemes=("ws://", "wss://"),
        ca_setting="WEBSOCKET_CA_FILE",
        tls=server.tls if server.is_tls else None,
    )
    reached = await reach(target)
    if not reached[-1].ok:
        return reached
    opened = held(target.subject, "WebSocket", f"{url.path or '/'} is open")
    done: list[Item] = []
    try:
        async with open_websocket(server) as websocket:
            done.append(opened)
            if register:
                await _register(websocket, terms)
                found = f"accepted as {terms.broker_name!r}"
                done.append(held(target.subject, "registration", found))
    except WebSocketError as error:
        if not done:
            done.append(await _not_opened(target, error))
        elif register and done == [opened]:
            advice = "see the server's log"
            done.append(failed(target.subject, "registration", str(error), advice))
    return [*reached, *done]


async def _not_opened(target: Target, error: WebSocketError) -> Item:
    if str(error).startswith("BROKER_WEBSOCKET_TOKEN"):
        return failed(target.subject, "WebSocket", str(error), "correct the file")
    status = error.status if isinstance(error, RefusedError) else None
    # Many servers answer 400 when they are talked to in the clear on a port with TLS.
    if target.tls is None and status in {None, 400} and await speaks_tls(target):
        return tls_wanted(target)
    refusal = None if status is not None else await refusal_after_tls(target)
    if refusal is not None:
        return refusal
    advice = error.advice or "WEBSOCKET_URL must lead to the central server"
    return failed(target.subject, "WebSocket", str(error), advice)


async def _register(websocket: WebSocketConnection, terms: SessionTerms) -> None:
    """Return when the server has accepted; `WebSocketError` comes in an exception group."""
    send_news, _ = trio.open_memory_channel[ServerNews](math.inf)  # nobody wants to know
    session = CentralSession(
        websocket,
        terms,
        broker_id=terms.broker_name,
        send_news=send_news,
        status_wanted=Wakeup(),
        tally=ServerTally(),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        nursery.cancel_scope.cancel()
