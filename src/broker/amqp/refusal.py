"""Why RabbitMQ, or what was taken for it, does not let the broker in; in words, with advice."""

import re
import ssl
from typing import Literal

from aiormq.exceptions import AuthenticationError, ProtocolSyntaxError

from broker.net.endpoints import DEFAULT_LOGIN, AmqpEndpoint
from broker.net.tls import explain

type Stage = Literal["tls", "amqp", "login", "vhost", "limit"]

_TLS_ALERT = b"\x15\x03"
_HTTP = b"HTTP/"
_NOT_AMQP = "the peer does not speak AMQP 0-9-1"
_LIMIT = re.compile(r"limit( \(\d+\))? is (reached|exceeded)")


class RefusedError(Exception):
    """The handshake came to no good end.

    Attributes:
        stage: How far it came: `tls`, `amqp` for another protocol or a node that is not ready,
            `login`, `vhost`, or `limit` when there are too many connections.
        said: The same in RabbitMQ's words; empty when it said nothing.
    """

    def __init__(self, stage: Stage, found: str, advice: str, *, said: str = "") -> None:
        super().__init__(f"{found}; {advice}")
        self.stage: Stage = stage
        self.found = found
        self.advice = advice
        self.said = said


def refusal(
    error: BaseException,
    *,
    endpoint: AmqpEndpoint,
    has_certificate: bool,
    by_certificate: bool,
    close_text: str,
    greeting: bytes,
) -> RefusedError | None:
    """Return what a failed handshake means, or None when it is not known."""
    if close_text:
        return _said(close_text, endpoint, by_certificate=by_certificate)
    if greeting or isinstance(error, ProtocolSyntaxError):
        return _other_protocol(greeting)
    if isinstance(error, AuthenticationError):
        return _no_mechanism(str(error.args[0]), has_certificate=has_certificate)
    tls_error = _tls_error(error)
    if tls_error is not None:
        return RefusedError("tls", *explain(tls_error, "AMQP_CA_FILE", "AMQP_CERT_FILE"))
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        # The alert that says so may be lost, as the peer is written to while it hangs up.
        advice = (
            "if it wants a client certificate, AMQP_CERT_FILE must name one; otherwise see its log"
            if endpoint.tls and not has_certificate
            else "see its log, and that of any proxy in between"
        )
        return RefusedError("amqp", "the peer closed the connection during the handshake", advice)
    return None


def _said(text: str, endpoint: AmqpEndpoint, *, by_certificate: bool) -> RefusedError:
    stage: Stage
    if text.startswith("ACCESS_REFUSED"):
        stage, found = "login", "RabbitMQ refused the login"
        advice = "check user and password"
        if by_certificate:
            advice = (
                "the user that the client certificate names must exist there (RabbitMQ's log has "
                "the name, ssl_cert_login_from in rabbitmq.conf where it is taken from)"
            )
        elif endpoint.user == DEFAULT_LOGIN:
            advice += "; RabbitMQ lets guest in only from its own machine (loopback_users)"
    elif _LIMIT.search(text):
        stage, found = "limit", "RabbitMQ takes no more connections"
        advice = (
            "end other connections, or raise the limit: rabbitmqctl set_vhost_limits, "
            "set_user_limits, or rabbitmq.conf"
        )
    elif "is down" in text:
        stage, found = "vhost", "the virtual host is down"
        advice = "see RabbitMQ's log, then: rabbitmqctl restart_vhost"
    elif text.startswith("NOT_ALLOWED"):
        stage, found = "vhost", "RabbitMQ refused the virtual host"
        advice = "check its name, and the user's permissions there"
    else:
        stage, found, advice = "amqp", "RabbitMQ refused the connection", "see its log"
    return RefusedError(stage, f"{found} ({text})", advice, said=text)


def _other_protocol(greeting: bytes) -> RefusedError:
    if not greeting:  # aiormq saw it
        return RefusedError(
            "amqp",
            f"{_NOT_AMQP}, but another version of the protocol",
            "connect to RabbitMQ, or to what speaks its version",
        )
    if greeting.startswith(_TLS_ALERT):
        return RefusedError(
            "tls", f"{_NOT_AMQP} on this port, but TLS", "AMQP_URL must begin with amqps://"
        )
    advice = "connect to RabbitMQ's port for AMQP, by default 5672, or 5671 with TLS"
    if greeting.startswith(_HTTP):
        return RefusedError("amqp", f"{_NOT_AMQP} on this port, but HTTP", advice)
    return RefusedError("amqp", _NOT_AMQP, advice)


def _no_mechanism(offered: str, *, has_certificate: bool) -> RefusedError:
    names = " and ".join(offered.split()) or "none"
    found = f"RabbitMQ offers no way to log in that the broker knows: it offers {names}"
    advice = "let auth_mechanisms in rabbitmq.conf name PLAIN"
    if has_certificate:
        advice += ", or EXTERNAL for client certificates"
    else:
        # It is offered only to those who show one.
        advice += "; or, if only client certificates are to log in, AMQP_CERT_FILE must name one"
    return RefusedError("login", found, advice)


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return error
