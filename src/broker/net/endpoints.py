"""Where RabbitMQ is: parsing of host lists and AMQP URLs.

The parsers raise `ValueError` with a text that reads on from the variable's name ("must ...") and
that never repeats any part of a URL, since a URL may hold a password.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

SHORTSTR_BYTES = 255  # AMQP's short strings carry their length in one byte
DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}
DEFAULT_LOGIN = "guest"

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_HOST_NAME = re.compile(rb"[A-Za-z0-9_.-]{1,253}")
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class AmqpEndpoint:
    """One RabbitMQ node to connect to, all values decoded.

    `str()` gives the URL without the password; `repr()` leaves the password out as well.

    Attributes:
        by_certificate: Whether a client certificate is meant to be the login, so that RabbitMQ
            alone knows the user; user and password are its default then.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    tls: bool
    by_certificate: bool = False

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.by_certificate else f"{quote(self.user, safe='')}@"
        return f"{scheme}://{user}{host}:{self.port}/{quote(self.vhost, safe='')}"


def parse_hosts(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of host names and IP addresses, `[fd00::1]` without brackets."""
    return tuple(_parse_host(entry.strip()) for entry in text.split(","))


def parse_amqp_urls(text: str, *, has_certificate: bool = False) -> tuple[AmqpEndpoint, ...]:
    """Parse a comma-separated list of AMQP URLs.

    Args:
        text: `amqp://user:password@host:port/vhost` or `amqps://...`, user, password and vhost
            percent-encoded. Without login it is guest, or the client certificate if there is one;
            without port the scheme's own, and without vhost `/`.
    """
    urls = [url.strip() for url in text.split(",")]
    endpoints = []
    for number, url in enumerate(urls, start=1):
        try:
            endpoints.append(_parse_amqp_url(url, has_certificate=has_certificate))
        except ValueError as error:
            which = f" (URL {number} of {len(urls)})" if len(urls) > 1 else ""
            raise ValueError(f"{error}{which}") from None
    return tuple(endpoints)


def split_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """Split a URL, whose parts stay encoded, and check its lower-case scheme, host and port."""
    allowed = " or ".join(f"{scheme}://" for scheme in schemes)
    # urlsplit silently removes tabs and newlines, so they are refused before it sees them.
    if not url.isprintable() or " " in url:
        raise ValueError("must not contain spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # The original text may quote the URL with its password.
        raise ValueError(
            "must have a valid host and a port from 1 to 65535; special characters in user "
            "and password must be percent-encoded"
        ) from None
    if parts.scheme not in schemes or not url.partition(":")[2].startswith("//"):
        raise ValueError(f"must start with {allowed}")
    if not parts.hostname:
        raise ValueError(f"must name a host after {allowed}")
    if port == 0:
        raise ValueError("must have a port from 1 to 65535")
    _parse_host(parts.hostname)
    return parts


def _parse_amqp_url(url: str, *, has_certificate: bool) -> AmqpEndpoint:
    parts = split_url(url, tuple(DEFAULT_PORTS))
    if "?" in url or "#" in url:
        raise ValueError(
            "must not contain '?' or '#': TLS files belong in AMQP_CA_FILE, AMQP_CERT_FILE and "
            "AMQP_KEY_FILE, and in user, password and vhost they are written %3F and %23"
        )
    if (parts.username is None) != (parts.password is None):
        raise ValueError("must give user and password together, or neither")
    user = _decode(parts.username) if parts.username is not None else DEFAULT_LOGIN
    password = _decode(parts.password) if parts.password is not None else DEFAULT_LOGIN
    if not user or not password:
        raise ValueError("must not have an empty user or password")
    vhost = _decode(parts.path[1:]) or "/"
    if len(vhost.encode()) > SHORTSTR_BYTES:
        raise ValueError("must have a vhost of at most 255 bytes")
    return AmqpEndpoint(
        host=_parse_host(parts.hostname or ""),
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        user=user,
        password=password,
        vhost=vhost,
        tls=parts.scheme == "amqps",
        by_certificate=has_certificate and parts.username is None and parts.scheme == "amqps",
    )


def _parse_host(text: str) -> str:
    wrong = ValueError("must name hosts or IP addresses only")
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
            return host
        # The encoding the resolver applies; it refuses empty and overlong labels, late.
        encoded = host.encode("idna")
    except ValueError:
        raise wrong from None
    if not _HOST_NAME.fullmatch(encoded):
        raise wrong
    return host


def _decode(text: str) -> str:
    wrong = ValueError("must have its user, password and vhost percent-encoded as UTF-8")
    if _BROKEN_PERCENT.search(text):
        raise wrong
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise wrong from None
    if CONTROL_CHARACTER.search(decoded):
        raise ValueError("must not contain control characters, not even percent-encoded")
    return decoded
