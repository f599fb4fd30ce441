"""RabbitMQ's management HTTP API, as far as policies need it."""

import base64
import urllib.request
from http import HTTPStatus
from urllib.parse import quote

import msgspec

from broker.commands.fetch import FetchError, fetch
from broker.commands.queues.policy import Policy
from broker.endpoints import AmqpEndpoint, split_url

_PLUGIN = "rabbitmq-plugins enable rabbitmq_management"


class ManagementError(Exception):
    """A policy was not set; the text says why and what to do, in a line."""


def address(text: str) -> str:
    """Return the address of the API, from what somebody typed.

    Args:
        text: Such as `http://localhost:15672`.

    Raises:
        ValueError: It is none; the text reads on from the option's name.
    """
    if "@" in text:
        # urllib would take a login for a part of the host's name.
        raise ValueError("must not hold a login: that of AMQP_URL or RABBITMQ_USER is used")
    split_url(text, ("http", "https"))
    return text.rstrip("/")


async def put_policy(url: str, login: AmqpEndpoint, policy: Policy) -> None:
    """Set a policy, or replace the one of the same name.

    Args:
        url: Where the API is.
        login: Whose name and password to use.
        policy: The policy.

    Raises:
        ManagementError: It was not set.
    """
    vhost, name = (quote(part, safe="") for part in (policy.vhost, policy.name))
    credentials = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - http or https, see `address`
        f"{url}/api/policies/{vhost}/{name}",
        method="PUT",
        data=msgspec.json.encode(
            {
                "pattern": policy.pattern,
                "definition": policy.definition,
                "apply-to": policy.apply_to,
                "priority": policy.priority,
            }
        ),
        headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
    )
    try:
        status, body = await fetch(request)
    except FetchError as error:
        raise ManagementError(
            f"no answer from {url}: {error}; is RabbitMQ's management plugin enabled there "
            f"({_PLUGIN})?"
        ) from error
    if status not in {HTTPStatus.CREATED, HTTPStatus.NO_CONTENT}:
        raise ManagementError(_problem(url, login, policy, status, _reason(body)))


def _reason(body: bytes) -> str | None:
    try:
        answer = msgspec.json.decode(body)
    except ValueError:
        return None
    match answer:
        case dict() if isinstance(reason := answer.get("reason"), str):
            return " ".join(reason.split())
    return None


def _problem(url: str, login: AmqpEndpoint, policy: Policy, status: int, reason: str | None) -> str:
    match status:
        case _ if reason is None:
            return f"what answers at {url} (status {status}) is no RabbitMQ management API"
        case HTTPStatus.UNAUTHORIZED if "Login failed" in reason:
            return f"{url} refused the login of {login.user!r}: check user and password"
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return (
                f"{login.user!r} may not set policies ({reason}): give it the tag policymaker with "
                "rabbitmqctl set_user_tags, or run the printed commands"
            )
        case HTTPStatus.NOT_FOUND:
            return f"there is no virtual host {policy.vhost!r} at {url}"
    return f"RabbitMQ refused the policy {policy.name!r}: {reason}"
