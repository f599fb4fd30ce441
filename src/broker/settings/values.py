"""How text becomes a value, and the sentence that says what it must be when it does not.

Every text reads on from the variable's name ("RABBITMQ_PORT must be ..."). Values are shown only by
`must`, which secrets do not use.
"""

import re
import ssl
from collections.abc import Callable
from pathlib import Path

from broker.net.endpoints import (
    CONTROL_CHARACTER,
    SHORTSTR_BYTES,
    parse_amqp_urls,
    parse_hosts,
    split_url,
)

ROUTING_POLICIES = ("random", "least_outstanding", "consistent_hash")
"""Those of the broker."""

_SHOWN_CHARACTERS = 60
_EXCHANGE_NAME_BYTES = 240
_KUBERNETES_PORT = re.compile(r"tcp://[^/@\s]+:(\d+)")
_VISIBLE = re.compile(r"[!-~]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # of RFC 9110
_WHOLE_NUMBER = re.compile(r"[0-9]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_OBJECT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


def must[T](expectation: str, parse: Callable[[str], T]) -> Callable[[str], T]:
    """Put one sentence in the place of whatever a parser complains about.

    The sentence shows the offending value: never use it for secrets. A value with an `@` stays
    hidden too, as it may be a URL with a password that was put into the wrong variable.
    """

    def parse_or_say(text: str) -> T:
        try:
            return parse(text)
        except ValueError:
            raise ValueError(f"must {expectation}{_but(text)}") from None

    return parse_or_say


def whole_number(expectation: str, least: int, most: float) -> Callable[[str], int]:
    """Return a parser of whole numbers within bounds."""

    def parse(text: str) -> int:
        if not _WHOLE_NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return must(expectation, parse)


def number(expectation: str, least: float) -> Callable[[str], float]:
    """Return a parser of numbers that are large enough."""

    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text) or float(text) < least:
            raise ValueError
        return float(text)

    return must(expectation, parse)


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser of one of several words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return must(f"be {', '.join(words[:-1])} or {words[-1]}", parse)


def routing_policy(text: str) -> str:
    """Check the name of a routing policy; one of the user's own is looked for at the start."""
    if text.lower() in ROUTING_POLICIES:
        return text.lower()
    if not _OBJECT.fullmatch(text):
        raise ValueError(
            f"must be {', '.join(ROUTING_POLICIES)} or package.module:name{_but(text)}"
        )
    return text


def amqp_urls(text: str) -> str:
    """Check a list of AMQP URLs."""
    parse_amqp_urls(text)
    return text


def websocket_url(url: str) -> str:
    """Check the URL of the central server."""
    parts = split_url(url, ("ws", "wss"))
    if "@" in parts.netloc:
        raise ValueError("must not contain a user or password: use BROKER_WEBSOCKET_TOKEN")
    if "#" in url:
        raise ValueError("must not contain a fragment ('#')")
    return url


def password(text: str) -> str:
    """Check a password."""
    try:
        text.encode()
    except UnicodeEncodeError:  # its own text quotes from the password
        raise ValueError("must be valid UTF-8 text") from None
    if CONTROL_CHARACTER.search(text):
        raise ValueError("must not contain control characters, such as line breaks")
    return text


def bearer_token(text: str) -> str:
    """Check a token that travels in a header."""
    if not _VISIBLE.fullmatch(text):
        raise ValueError("must consist of visible ASCII characters, without spaces or line breaks")
    return text


def _but(text: str) -> str:
    if "@" in text:
        return ""
    # repr() escapes control characters and lone surrogates.
    shown = repr(text[:_SHOWN_CHARACTERS])
    return f", not {shown}{'...' if len(text) > _SHOWN_CHARACTERS else ''}"


def _port(text: str) -> int:
    injected = _KUBERNETES_PORT.fullmatch(text)
    return whole_number("be a port", 1, 65_535)(injected[1] if injected else text)


def _port_or_off(text: str) -> int | None:
    if text.lower() == "off":
        return None
    return 0 if text == "0" else _port(text)


def _host(text: str) -> str:
    (host,) = parse_hosts(text)
    return host


def _hosts(text: str) -> str:
    parse_hosts(text)
    return text


def _short_text(text: str) -> str:
    if not 1 <= len(text.encode()) <= SHORTSTR_BYTES or CONTROL_CHARACTER.search(text):
        raise ValueError
    return text


def _queue_name(text: str) -> str:
    if text.startswith("amq."):
        raise ValueError
    return _short_text(text)


def _queue_names(text: str) -> tuple[str, ...]:
    return tuple(_queue_name(entry.strip()) for entry in text.split(","))


def _origin(text: str) -> str:
    if not _VISIBLE.fullmatch(text):
        raise ValueError
    return text


def _subprotocols(text: str) -> tuple[str, ...]:
    offered = tuple(entry.strip() for entry in text.split(","))
    if not all(map(_TOKEN.fullmatch, offered)) or len(set(offered)) < len(offered):
        raise ValueError
    return offered


def _exchange_name(text: str) -> str:
    # The queue of each broker has this name, and something random after it.
    if len(text.encode()) > _EXCHANGE_NAME_BYTES:
        raise ValueError
    return _queue_name(text)


def _switch(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError
    return text.lower() in _TRUE


def _file(expectation: str, check: Callable[[Path], object]) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        try:
            check(Path(text))
        except (ssl.SSLError, ValueError):  # OpenSSL's own texts name places in its source
            reason = "it holds none"
        except OSError as error:
            reason = str(error.strerror)
        else:
            return Path(text)
        raise ValueError(f"must {expectation}{_but(text)} ({reason})")

    return parse


def _read_a_byte(path: Path) -> None:
    with path.open("rb") as file:
        file.read(1)


def _load_certificates(path: Path) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)


hosts = must("be a host name or IP address, or several separated by commas", _hosts)
port = must("be a port from 1 to 65535", _port)
host = must("be one host name or IP address", _host)
port_or_off = must("be a port from 1 to 65535, 0 for any free one, or off for none", _port_or_off)
short_text = must("be 1 to 255 bytes of text without control characters", _short_text)
queue_name = must(
    "be a queue name of 1 to 255 bytes without control characters, not starting with 'amq.'",
    _queue_name,
)
queue_names = must(
    "be a queue name, or several separated by commas, each of 1 to 255 bytes without control "
    "characters and without 'amq.' in front",
    _queue_names,
)
exchange_name = must(
    "be an exchange name of 1 to 240 bytes without control characters, not starting with 'amq.'",
    _exchange_name,
)
origin = must(
    "be an origin, such as https://chat.example, in visible ASCII characters without spaces",
    _origin,
)
subprotocols = must(
    "be a WebSocket subprotocol, such as v1.agents, or several different ones separated by commas",
    _subprotocols,
)
switch = must("be true or false", _switch)
readable_file = _file("name a readable file", _read_a_byte)
certificate_file = _file(
    "name a readable file with CA certificates in PEM format", _load_certificates
)
