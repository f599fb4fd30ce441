"""The types of settings: what each may hold, and the sentence that says so when it does not.

Every text reads on from the variable's name ("RABBITMQ_PORT must be ..."). Values are shown only by
`must`, which secrets do not use.
"""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from broker.endpoints import (
    CONTROL_CHARACTER,
    SHORTSTR_BYTES,
    parse_amqp_urls,
    parse_hosts,
    split_url,
)
from broker.messages import MAX_BODY_BYTES

UINT16_MAX = 65_535

_SHOWN_CHARACTERS = 60
_KUBERNETES_PORT = re.compile(r"tcp://[^/@\s]+:(\d+)")
_BEARER_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class UnusableSecret:
    """Takes the place of a secret that its `_FILE` variable should have led to.

    Attributes:
        variable: The variable to name in the problem.
        problem: What it must be.
    """

    variable: str
    problem: str


def wrong(problem: str, variable: str | None = None) -> PydanticCustomError:
    """Make the error that a validator raises.

    Args:
        problem: Reads on from the variable's name, and holds no secret.
        variable: The variable to name, when it is not the field's own.
    """
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "variable": variable})


def must(expectation: str) -> WrapValidator:
    """Put one sentence in the place of whatever a type complains about.

    The sentence shows the offending value: never use it for secrets. A value with an `@` stays
    hidden too, as it may be a URL with a password that was put into the wrong variable.

    Args:
        expectation: What the value must be, for example "be a port".
    """

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise wrong(f"must {expectation}{_but(value)}") from None

    return WrapValidator(validate)


def _but(value: object) -> str:
    text = str(value)
    if "@" in text:
        return ""
    # repr() escapes control characters and lone surrogates.
    shown = repr(text[:_SHOWN_CHARACTERS])
    return f", not {shown}{'...' if len(text) > _SHOWN_CHARACTERS else ''}"


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Run a check that raises `ValueError`, and keep the value as it is."""

    def validate(value: str | SecretStr) -> str | SecretStr:
        try:
            check(value.get_secret_value() if isinstance(value, SecretStr) else value)
        except ValueError as error:
            raise wrong(str(error)) from None
        return value

    return AfterValidator(validate)


def _check_short_text(text: str) -> None:
    if not 1 <= len(text.encode()) <= SHORTSTR_BYTES or CONTROL_CHARACTER.search(text):
        raise ValueError("wrong")


def _check_queue(name: str) -> None:
    _check_short_text(name)
    if name.startswith("amq."):
        raise ValueError("wrong")


def _check_password(password: str) -> None:
    try:
        password.encode()
    except UnicodeEncodeError:  # its own text quotes from the password
        raise ValueError("must be valid UTF-8 text") from None
    if CONTROL_CHARACTER.search(password):
        raise ValueError("must not contain control characters, such as line breaks")


def _check_token(token: str) -> None:
    if not _BEARER_TOKEN.fullmatch(token):
        raise ValueError("must consist of visible ASCII characters, without spaces or line breaks")


def _check_websocket_url(url: str) -> None:
    parts = split_url(url, ("ws", "wss"))
    if "@" in parts.netloc:
        raise ValueError("must not contain a user or password: use BROKER_WEBSOCKET_TOKEN")
    if "#" in url:
        raise ValueError("must not contain a fragment ('#')")


def _take_port_from_kubernetes(value: object) -> object:
    injected = _KUBERNETES_PORT.fullmatch(value) if isinstance(value, str) else None
    return injected[1] if injected else value


def _refuse_unusable(value: object) -> object:
    if isinstance(value, UnusableSecret):
        raise wrong(value.problem, value.variable)
    return value


def _check_readable(path: Path) -> Path:
    with path.open("rb") as file:
        file.read(1)
    return path


def _check_certificates(path: Path) -> Path:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    return path


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _file(check: Callable[[Path], Path], expectation: str) -> AfterValidator:
    def validate(path: Path) -> Path:
        try:
            return check(path)
        except (ssl.SSLError, ValueError):  # OpenSSL's own texts name places in its source
            reason = "it holds none"
        except OSError as error:
            reason = str(error.strerror)
        raise wrong(f"must {expectation}{_but(path)} ({reason})")

    return AfterValidator(validate)


ReadableFile = Annotated[Path, _file(_check_readable, "name a readable file")]
CertificateFile = Annotated[
    Path, _file(_check_certificates, "name a readable file with CA certificates in PEM format")
]

Hosts = Annotated[
    str, _checked(parse_hosts), must("be a host name or IP address, or several separated by commas")
]
Port = Annotated[
    int,
    Field(ge=1, le=UINT16_MAX),
    BeforeValidator(_take_port_from_kubernetes),
    must("be a port from 1 to 65535"),
]
ShortText = Annotated[
    str,
    _checked(_check_short_text),
    must("be 1 to 255 bytes of text without control characters"),
]
QueueName = Annotated[
    str,
    _checked(_check_queue),
    must("be a queue name of 1 to 255 bytes without control characters, not starting with 'amq.'"),
]
WebSocketUrl = Annotated[str, _checked(_check_websocket_url)]

Password = Annotated[SecretStr, _checked(_check_password), BeforeValidator(_refuse_unusable)]
AmqpUrls = Annotated[SecretStr, _checked(parse_amqp_urls), BeforeValidator(_refuse_unusable)]
Token = Annotated[SecretStr, _checked(_check_token), BeforeValidator(_refuse_unusable)]

Prefetch = Annotated[
    int, Field(ge=1, le=UINT16_MAX), must("be a whole number from 1 to 65535 (AMQP's 16 bits)")
]
MessageBytes = Annotated[
    int,
    Field(ge=1, le=MAX_BODY_BYTES),
    must("be a whole number of bytes from 1 to 134217728 (RabbitMQ's own limit)"),
]
FrameBytes = Annotated[
    int,
    Field(ge=1024, le=2**31 - 1),
    must("be a whole number of bytes from 1024 to 2147483647"),
]
Agents = Annotated[int, Field(ge=1), must("be a whole number of agents, at least 1")]
Hops = Annotated[int, Field(ge=0), must("be a whole number of messages, or 0 for any number")]
Seconds = Annotated[
    float, Field(ge=1, allow_inf_nan=False), must("be a number of seconds, at least 1")
]
SecondsOrNever = Annotated[
    float, Field(ge=0, allow_inf_nan=False), must("be a number of seconds, or 0 for never")
]
Switch = Annotated[bool, must("be true or false")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(_lower),
    must("be debug, info, warning, error or critical"),
]
LogFormat = Annotated[
    Literal["json", "console", "auto"],
    BeforeValidator(_lower),
    must("be json, console or auto"),
]
