"""The central server as it is configured."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import trio
from trio_websocket import WebSocketConnection

from broker.central.outbox import Outbox
from broker.central.session import CentralSession
from broker.central.websocket import ServerAddress, WebSocketError, open_websocket
from broker.commands.checks.item import Item, failed, held
from broker.commands.checks.reach import (
    Target,
    address,
    reach,
    refusal_after_tls,
    speaks_tls,
    tls_wanted,
)
from broker.observe.tally import ServerTally
from broker.wakeup import Wakeup

_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_HTTP_STATUS = re.compile(r"HTTP status (\d{3})")
_NO_TOKEN = "it wants a token: set BROKER_WEBSOCKET_TOKEN"  # noqa: S105 - it holds none
_WRONG_TOKEN = "correct BROKER_WEBSOCKET_TOKEN"  # noqa: S105 - it holds none
_WRONG_PATH = "correct the path in WEBSOCKET_URL"
_ADVICE: Mapping[str, str] = {
    "404": _WRONG_PATH,
    "400": _WRONG_PATH,
    "405": _WRONG_PATH,
    "426": _WRONG_PATH,
    "200": f"it is a web server; {_WRONG_PATH}",
}


async def check_server(
    server: ServerAddress, *, name: str, silence: float, register: bool
) -> list[Item]:
    """Check the server, in half a minute at most.

    Args:
        server: The server.
        name: The name to register with. A server may have one session for each, so it must not be
            that of a broker which runs.
        silence: Seconds without any frame after which a session counts as dead.
        register: Whether to register at all.

    Returns:
        The items, as far as it came.
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
                await _register(websocket, name, silence)
                done.append(held(target.subject, "registration", f"accepted as {name!r}"))
    except WebSocketError as error:
        if not done:
            done.append(await _not_opened(target, server, str(error)))
        elif register and done == [opened]:
            advice = "see the server's log"
            done.append(failed(target.subject, "registration", str(error), advice))
    return [*reached, *done]


async def _not_opened(target: Target, server: ServerAddress, said: str) -> Item:
    refused = _HTTP_STATUS.search(said)
    if target.tls is None and (refused is None or refused[1] == "400") and await speaks_tls(target):
        return tls_wanted(target)
    refusal = None if refused is not None else await refusal_after_tls(target)
    if refusal is not None:
        return refusal
    if refused is None:
        advice = "WEBSOCKET_URL must lead to the central server"
    elif refused[1] in {"401", "403"}:
        advice = _NO_TOKEN if server.token is None else _WRONG_TOKEN
    elif refused[1] in _ADVICE:
        advice = _ADVICE[refused[1]]
    elif refused[1].startswith("3"):
        advice = "WEBSOCKET_URL must be the address that it redirects to"
    else:
        advice = "see the log of the server, and of any proxy before it"
    return failed(target.subject, "WebSocket", said, advice)


async def _register(websocket: WebSocketConnection, name: str, silence: float) -> None:
    """Return when the server has accepted the registration.

    Raises:
        WebSocketError: It refused, did not answer in time, or hung up; in an exception group.
    """
    registered = trio.Event()
    session = CentralSession(
        websocket,
        outbox=Outbox(),
        status_wanted=Wakeup(),
        broker_id=name,
        broker_name=name,
        silence=silence,
        registered=registered.set,
        tally=ServerTally(),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await registered.wait()
        nursery.cancel_scope.cancel()
