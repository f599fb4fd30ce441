"""The port of the broker's own HTTP endpoint: free, or served by a broker."""

import errno
import re
import socket

import trio

from broker.cli.checks.item import Item, failed, held
from broker.cli.fetch import FetchError, fetch
from broker.cli.output import address
from broker.net.causes import cause_in_words

_CHECK_LINE = re.compile(r"^\[[+-]\]\S", re.MULTILINE)
_FAILED_LINE = re.compile(r"^\[-\](.+)$", re.MULTILINE)
_OK, _UNAVAILABLE = 200, 503
_ANY = "::"
"""Any address, of IPv4 as well."""


async def check_http_port(host: str, port: int | None) -> Item:
    """Check whether a broker could serve there, or does; port 0 is any free one, None is none."""
    name = "port"
    if port is None:
        return held("HTTP endpoint", name, "none wanted")
    subject = f"HTTP endpoint {address(host, port)}"
    error = await _listen(host, port)
    if error is None:
        return held(subject, name, "any free one" if port == 0 else "free")
    if isinstance(error, socket.gaierror):
        found = f"the name {host} cannot be resolved ({cause_in_words(error)})"
        return failed(subject, name, found, "correct BROKER_HTTP_HOST")
    match error.errno:
        case errno.EADDRINUSE:
            return await _served(subject, name, reachable(host), port)
        case errno.EADDRNOTAVAIL:
            found, advice = "not an address of this machine", "correct BROKER_HTTP_HOST"
        case errno.EACCES:
            found, advice = "no permission for this port", "choose a BROKER_HTTP_PORT above 1023"
        case _:
            found, advice = cause_in_words(error), "correct BROKER_HTTP_HOST and _PORT"
    return failed(subject, name, found, advice)


def reachable(host: str) -> str:
    """Return the address at which to reach what listens on one: loopback, if that is any."""
    return "127.0.0.1" if host in {"0.0.0.0", _ANY} else host  # noqa: S104 - nothing listens


async def _listen(host: str, port: int) -> OSError | None:
    """Return why one cannot listen there; None when one can."""
    try:
        # Trio listens there with IPv6 only, and without a host with both.
        listeners = await trio.open_tcp_listeners(port, host=None if host == _ANY else host)
    except OSError as error:
        return error
    for listener in listeners:
        await listener.aclose()
    return None


async def _served(subject: str, name: str, host: str, port: int) -> Item:
    try:
        status, body = await fetch(f"http://{address(host, port)}/readyz?verbose")
    except FetchError:
        status, body = 0, b""
    text = body.decode(errors="replace")
    if status not in {_OK, _UNAVAILABLE} or not _CHECK_LINE.search(text):
        advice = "stop it, or choose another BROKER_HTTP_PORT"
        return failed(subject, name, "used by another program", advice)
    if status == _OK:
        return held(subject, name, "used by a running broker that is ready")
    problems = "; ".join(_FAILED_LINE.findall(text)) or "without a reason"
    found = f"used by a running broker that is not ready ({problems})"
    return failed(subject, name, found, "broker status shows more")
