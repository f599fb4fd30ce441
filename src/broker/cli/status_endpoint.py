"""Find the HTTP endpoint of a running broker, and get documents from it."""

import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlencode
from urllib.request import Request

import msgspec

from broker.cli.checks.http_port import reachable
from broker.cli.fetch import FetchError, fetch
from broker.cli.output import address
from broker.net.endpoints import split_url
from broker.settings import Settings, SettingsError, load_settings
from broker.telemetry.one_line import complain

_OK = 200
_REFUSALS = (400, 403, 408, 415, 500)
"""HTTP statuses at which a broker says in a line why."""
_MARKUP_OR_MORE = re.compile(r"^<|\n|^.{500}")


class NoEndpointError(Exception):
    """The settings or the URL name no endpoint; `report` says why."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self._problems = problems

    def report(self) -> int:
        """Write a line per problem on standard error, and return the exit code."""
        return complain(*self._problems)


class UnavailableError(Exception):
    """There is no document to be had; the text says why and what to do, in a line."""


def endpoint_url(given: Mapping[str, str], url: str | None, path: str) -> str:
    """Return where a running broker serves a path.

    Args:
        given: Settings from the command line; without `url` they count, with environment and
            `.env`.
        url: The address of another broker's endpoint. If it has a path, that stays.

    Raises:
        NoEndpointError: There is no such address.
    """
    try:
        return given_url(url, path) if url else configured_url(load_settings(given), path)
    except SettingsError as error:
        raise NoEndpointError(*error.problems) from None
    except ValueError as error:
        raise NoEndpointError(str(error)) from None


def given_url(url: str, path: str) -> str:
    """Return the URL of a path at an endpoint; raise `ValueError` if it is none."""
    try:
        parts = split_url(url, ("http", "https"))
    except ValueError as error:
        raise ValueError(f"--url {error}") from None
    return url if parts.path not in {"", "/"} else parts._replace(path=path).geturl()


def configured_url(settings: Settings, path: str) -> str:
    """Return the URL of a path where the settings let a broker serve; else raise `ValueError`."""
    port = settings.broker_http_port
    if port is None:
        raise ValueError("BROKER_HTTP_PORT is off, so the broker serves no status: set a port")
    if port == 0:
        raise ValueError(
            "BROKER_HTTP_PORT is 0, so that the port is any free one: give its address by --url, "
            "as the broker's log has it"
        )
    return f"http://{address(reachable(settings.broker_http_host), port)}{path}"


def with_query(url: str, parameters: Mapping[str, str | int]) -> str:
    """Return a URL with parameters added, those that are empty left out."""
    named = {name: value for name, value in parameters.items() if value != ""}
    # What a terminal sends that is not UTF-8 is searched for as it is, and not found.
    query = urlencode(named, errors="surrogateescape")
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


async def get[T](url: str, kind: type[T], sent: bytes | None = None) -> T:
    """Get a document, by GET, or by sending JSON.

    Raises:
        UnavailableError: It did not come, or is not of the kind that a broker gives there.
    """
    request = Request(url, sent, {"Content-Type": "application/json"})  # noqa: S310 - it is http
    try:
        http_status, body = await fetch(request)
    except FetchError as error:
        raise UnavailableError(
            f"no broker answers at {url} ({error}): is it running, and is BROKER_HTTP_PORT "
            "the same for both, or --url right?"
        ) from error
    with suppress(msgspec.DecodeError):
        if http_status == _OK:
            return msgspec.json.decode(body, type=kind)
    refusal = body.decode(errors="replace").strip()
    if http_status in _REFUSALS and refusal and not _MARKUP_OR_MORE.search(refusal):
        raise UnavailableError(f"the broker at {url} refuses: {refusal}")
    raise UnavailableError(
        f"what answers at {url} is not a broker (HTTP status {http_status}): correct "
        "BROKER_HTTP_PORT or --url"
    )
