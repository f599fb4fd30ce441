"""RabbitMQ's management HTTP API, as far as policies need it."""

import base64
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

import msgspec

from broker.cli.fetch import FetchError, fetch
from broker.cli.queues.policy import Policy
from broker.net.endpoints import AmqpEndpoint

_PLUGIN = "rabbitmq-plugins enable rabbitmq_management"
_LACKS_RIGHTS = {"Not management user", "User not authorised to access object"}


class ManagementError(Exception):
    """A policy was not set; the text says why and what to do, in a line."""


async def put_policy(url: str, login: AmqpEndpoint, policy: Policy) -> None:
    """Set a policy, or replace the one of the same name.

    Raises:
        ManagementError: It was not set.
    """
    definition = msgspec.json.encode(
        {
            "pattern": policy.pattern,
            "definition": policy.definition,
            "apply-to": policy.apply_to,
            "priority": policy.priority,
        }
    )
    path = ("policies", policy.vhost, policy.name)
    status, body = await _ask(url, login, "PUT", *path, data=definition)
    if status not in {HTTPStatus.CREATED, HTTPStatus.NO_CONTENT}:
        raise ManagementError(_problem(url, login, policy, status, _refusal(body)))


async def get_policy(url: str, login: AmqpEndpoint, queue: str) -> Mapping[str, object]:
    """Return the definition of the policy that is in effect for a queue; empty without one.

    Raises:
        ManagementError: It was not told.
    """
    status, body = await _ask(url, login, "GET", "queues", login.vhost, queue)
    if status != HTTPStatus.OK:
        refusal = _refusal(body)
        said = f"status {status}" if refusal is None else refusal.reason
        raise ManagementError(
            f"{url} does not tell {login.user!r} of queue {queue!r} ({said}): it needs the tag "
            "management (rabbitmqctl set_user_tags)"
        )
    try:
        return msgspec.json.decode(body, type=_Queue).effective_policy_definition or {}
    except ValueError:
        raise ManagementError(f"what answers at {url} is not a RabbitMQ management API") from None


async def _ask(
    url: str, login: AmqpEndpoint, method: str, *path: str, data: bytes | None = None
) -> tuple[int, bytes]:
    quoted = "/".join(quote(part, safe="") for part in path)
    credentials = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - http or https, see `ManagementUrl`
        f"{url.rstrip('/')}/api/{quoted}",
        method=method,
        data=data,
        headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
    )
    try:
        return await fetch(request)
    except FetchError as error:
        raise ManagementError(
            f"no answer from {url}: {error}; is RabbitMQ's management plugin enabled there "
            f"({_PLUGIN})?"
        ) from error


class _Queue(msgspec.Struct):
    effective_policy_definition: dict[str, object] | None = None


class _Refusal(msgspec.Struct):
    error: str
    reason: str


def _refusal(body: bytes) -> _Refusal | None:
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except ValueError:
        return None
    refusal.reason = " ".join(refusal.reason.split())
    return refusal


def _problem(
    url: str, login: AmqpEndpoint, policy: Policy, status: int, refusal: _Refusal | None
) -> str:
    if refusal is None:
        return f"what answers at {url} (status {status}) is not a RabbitMQ management API"
    if status == HTTPStatus.NOT_FOUND:
        return f"there is no virtual host {policy.vhost!r} at {url}"
    if status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"RabbitMQ refused the policy {policy.name!r}: {refusal.reason}"
    # The reason of a failed login depends on the version ("Login failed" in 3.10, "Not_Authorized"
    # in 4.0), the error does not: everything but a failed login is `not_authorised`, with an s.
    if refusal.error == "not_authorized":
        return f"{url} refused the login of {login.user!r}: check user and password"
    if refusal.reason in _LACKS_RIGHTS:
        return (
            f"{login.user!r} may not set policies ({refusal.reason}): it needs the tag policymaker "
            f"(rabbitmqctl set_user_tags) and access to virtual host {policy.vhost!r} (rabbitmqctl "
            "set_permissions); or run the printed commands"
        )
    return (
        f"{url} refused {login.user!r} ({refusal.reason}): use another user, or run the printed "
        "commands"
    )
