"""Describe how a server refused the WebSocket, and advise what to do about it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urljoin, urlsplit

import h11

from broker.central.address import ServerAddress

_SHOWN_CHARACTERS = 200
_SHORTEST_SECRET = 4
"""Characters; a shorter value in the query is not a secret, and occurs in many words."""
_HIDDEN = "***"
_TAG = re.compile(
    r"<(?:(?:style|script)\b.*?</(?:style|script)>|[^<>]*>)", re.DOTALL | re.IGNORECASE
)
_QUERY = re.compile(r"\?[^\s\"'<>]+")
_SUBPROTOCOL = re.compile(rb"(?im)^sec-websocket-protocol:[ \t]*([!-~]{1,100})")
_SEARCHED_BYTES = 4096

_REDIRECTIONS = HTTPStatus.MULTIPLE_CHOICES
_CORRECT_PATH = "correct the path in WEBSOCKET_URL"
_NOT_READY = (
    "the server, or one behind its proxy, is not ready or overloaded: see their logs; the broker "
    "retries"
)
_ADVICE: Mapping[int, str] = {
    404: _CORRECT_PATH,
    405: _CORRECT_PATH,
    407: "let the connection through the proxy without a login",
    410: _CORRECT_PATH,
    421: "correct the host in WEBSOCKET_URL",
    429: "the server limits connections: see its log; the broker retries",
    501: _CORRECT_PATH,
    502: _NOT_READY,
    503: _NOT_READY,
    504: _NOT_READY,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer to the handshake that does not open a WebSocket.

    Attributes:
        location: Where it redirects to, if anywhere.
        said: The first line of its body with text; empty if there is none.
    """

    status: int
    location: str | None
    said: str


def read_refusal(answer: bytes) -> Refusal | None:
    """Parse a refusal, as far as it arrived; None if it is not HTTP or opens a WebSocket."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "server")]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | h11.InformationalResponse | None = None
    body = b""
    try:
        connection.receive_data(answer)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response | h11.InformationalResponse):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
    except h11.RemoteProtocolError:
        pass  # use what could be parsed
    if head is None or head.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
        return None
    location = dict(head.headers).get(b"location", b"").decode(errors="replace") or None
    return Refusal(head.status_code, location, _first_line(body))


def read_subprotocol(answer: bytes) -> str | None:
    """Return the subprotocol that the server chose in its answer, if any."""
    chosen = _SUBPROTOCOL.search(answer)
    return None if chosen is None else chosen[1].decode(errors="replace")


def describe(refusal: Refusal, sent: ServerAddress) -> str:
    """Return a refusal as a sentence, with echoed secrets hidden."""
    target = _target(refusal, sent)
    where = f", and redirects to {target}" if target is not None else ""
    said = f": {_without_secrets(refusal.said, sent)}" if refusal.said else ""
    return f"the server refused the WebSocket with HTTP status {refusal.status}{where}{said}"


def advise(refusal: Refusal, sent: ServerAddress) -> str:
    """Return what to do about a refusal, given its status and what the broker sent."""
    match refusal.status:
        case 401 | 403:
            return _advise_on_rights(refusal, sent)
        case 400 | 426:
            subprotocol = _set_or_correct("WEBSOCKET_SUBPROTOCOL", sent.subprotocols)
            return (
                f"{_CORRECT_PATH}, or {subprotocol}; a proxy before the server must pass on the "
                "headers Upgrade and Connection"
            )
        case status if _REDIRECTIONS <= status < HTTPStatus.BAD_REQUEST:
            target = _target(refusal, sent) or "the address that it redirects to"
            return f"WEBSOCKET_URL must be {re.sub('^http', 'ws', target)}"
        case status if status < _REDIRECTIONS:  # web servers answer so to anything
            return f"it is a plain web server; {_CORRECT_PATH}"
    return _ADVICE.get(refusal.status, "see the log of the server, and of any proxy before it")


def _advise_on_rights(refusal: Refusal, sent: ServerAddress) -> str:
    token = _set_or_correct("BROKER_WEBSOCKET_TOKEN", sent.token)
    origin = _set_or_correct("WEBSOCKET_ORIGIN", sent.origin)
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        return token if sent.token else f"the server requires a token: {token}"
    if "origin" in refusal.said.lower():
        return f"{origin}: it must be one that the server allows"
    # Some servers answer this to an unknown path as well.
    return f"{token}, or {origin}, or {_CORRECT_PATH}; the server's log may say which"


def _set_or_correct(variable: str, value: object) -> str:
    return f"correct {variable}" if value else f"set {variable}"


def _first_line(body: bytes) -> str:
    text = _TAG.sub("\n", body[:_SEARCHED_BYTES].decode(errors="replace"))
    line = next((line for line in map(str.strip, text.splitlines()) if line), "")
    return "".join(one if one.isprintable() else " " for one in line)


def _target(refusal: Refusal, sent: ServerAddress) -> str | None:
    """Return where a refusal redirects to: absolute, without credentials, query and fragment."""
    if refusal.location is None:
        return None
    try:
        parts = urlsplit(urljoin(re.sub("^ws", "http", sent.url), refusal.location))
    except ValueError:
        return None
    target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return _without_secrets("".join(one for one in target if one.isprintable()), sent)


def _without_secrets(text: str, sent: ServerAddress) -> str:
    # Servers echo what they were sent.
    text = _QUERY.sub("?" + _HIDDEN, text)
    secrets = [value for _, value in parse_qsl(urlsplit(sent.url).query)]
    for secret in (sent.token or "", *secrets):
        if len(secret) >= _SHORTEST_SECRET or secret == sent.token:
            text = text.replace(secret, _HIDDEN) if secret else text
    return text[:_SHOWN_CHARACTERS]
