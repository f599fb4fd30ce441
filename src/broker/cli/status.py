"""`broker status`: how a running broker fares, as it says itself."""

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter
from rich.live import Live
from rich.text import Text

from broker.cli.checks.http_port import reachable
from broker.cli.fetch import FetchError, fetch
from broker.cli.option_types import Format
from broker.cli.output import address, console, print_json
from broker.cli.status_view import line, view
from broker.cli.taking_settings import taking_settings
from broker.net.endpoints import split_url
from broker.settings import Settings, SettingsError, load_settings
from broker.status.model import Status
from broker.telemetry.one_line import complain, one_line

_WATCH_INTERVAL = 1.0
_READY, _NOT_READY = 0, 1
_OK = 200


class _UnavailableError(Exception):
    """There is no status to be had; the text says why and what to do, in a line."""


@taking_settings
def status(
    given: Mapping[str, str],
    *,
    url: str | None = None,
    watch: Annotated[bool, Parameter(negative="")] = False,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Show the status of a running broker.

    Args:
        url: Address of another broker's endpoint, such as http://10.0.0.1:9780; without it, of
            the one that BROKER_HTTP_HOST and BROKER_HTTP_PORT name.
        watch: Renew it every second until Ctrl-C.
    """
    try:
        address_of_status = _given_url(url) if url else _configured_url(load_settings(given))
    except SettingsError as error:
        return complain(*error.problems)
    except ValueError as error:
        return complain(str(error))
    as_json = format == "json"
    if watch:
        return _watch(address_of_status, as_json=as_json)
    try:
        found = trio.run(_fetch, address_of_status)
    except _UnavailableError as error:
        complain(str(error))
        return _NOT_READY
    if as_json:
        print_json(found)
    else:
        console().print(view(found))
    return _READY if found.ready else _NOT_READY


def _given_url(url: str) -> str:
    try:
        parts = split_url(url, ("http", "https"))
    except ValueError as error:
        raise ValueError(f"--url {error}") from None
    return url if parts.path not in {"", "/"} else parts._replace(path="/status").geturl()


def _configured_url(settings: Settings) -> str:
    port = settings.broker_http_port
    if port is None:
        raise ValueError("BROKER_HTTP_PORT is off, so the broker serves no status: set a port")
    if port == 0:
        raise ValueError(
            "BROKER_HTTP_PORT is 0, so that the port is any free one: give its address by --url, "
            "as the broker's log has it"
        )
    return f"http://{address(reachable(settings.broker_http_host), port)}/status"


async def _fetch(url: str) -> Status:
    try:
        http_status, body = await fetch(url)
    except FetchError as error:
        raise _UnavailableError(
            f"no broker answers at {url} ({error}): is it running, and is BROKER_HTTP_PORT "
            "the same for both, or --url right?"
        ) from error
    with suppress(msgspec.DecodeError):
        if http_status == _OK:
            return msgspec.json.decode(body, type=Status)
    raise _UnavailableError(
        f"what answers at {url} is not a broker (HTTP status {http_status}): correct "
        "BROKER_HTTP_PORT or --url"
    )


def _watch(url: str, *, as_json: bool) -> int:
    codes = [_NOT_READY]
    printing = console()
    # Ctrl-C is how people end it, and closing the pipe is how programs do.
    with suppress(KeyboardInterrupt, BrokenPipeError), ExitStack() as stack:
        if as_json:
            show = _print_json_line
        elif printing.is_terminal:
            live = stack.enter_context(Live(console=printing, auto_refresh=False))
            show = partial(_show_live, live)
        else:
            show = _print_line
        trio.run(_follow, url, show, codes)
    return codes[-1]


async def _follow(url: str, show: Callable[[Status | str], None], codes: list[int]) -> None:
    """Show the status every second until interrupted, and keep the exit code of the last one."""
    while True:
        try:
            found: Status | str = await _fetch(url)
        except _UnavailableError as error:
            found = str(error)
        codes[-1] = _READY if isinstance(found, Status) and found.ready else _NOT_READY
        show(found)
        await trio.sleep(_WATCH_INTERVAL)


def _show_live(live: Live, found: Status | str) -> None:
    shown = Text(one_line(found), style="bold red") if isinstance(found, str) else view(found)
    live.update(shown, refresh=True)


def _print_line(found: Status | str) -> None:
    sys.stdout.write(f"{one_line(found) if isinstance(found, str) else line(found)}\n")
    sys.stdout.flush()


def _print_json_line(found: Status | str) -> None:
    if isinstance(found, str):
        complain(found)
        return
    sys.stdout.write(f"{msgspec.json.encode(found).decode()}\n")
    sys.stdout.flush()
