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

from broker.cli.fitted import Fitted
from broker.cli.option_types import Format
from broker.cli.output import console, print_json
from broker.cli.status_endpoint import NoEndpointError, UnavailableError, endpoint_url, get
from broker.cli.status_view import line, view
from broker.cli.taking_settings import taking_settings
from broker.status.model import Status
from broker.telemetry.one_line import complain, one_line

_WATCH_INTERVAL = 1.0
_HOW_TO_END = "Press Ctrl-C to stop."
_READY, _NOT_READY = 0, 1


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
        served_at = endpoint_url(given, url, "/status")
    except NoEndpointError as error:
        return error.report()
    as_json = format == "json"
    if watch:
        return _watch(served_at, as_json=as_json)
    try:
        found = trio.run(get, served_at, Status)
    except UnavailableError as error:
        complain(str(error))
        return _NOT_READY
    if as_json:
        print_json(found)
    else:
        console().print(view(found))
    return _READY if found.ready else _NOT_READY


def _watch(url: str, *, as_json: bool) -> int:
    codes = [_NOT_READY]
    printing = console()
    # Ctrl-C is how people end it, and closing the pipe is how programs do.
    with suppress(KeyboardInterrupt, BrokenPipeError), ExitStack() as stack:
        if as_json:
            show = _print_json_line
        elif printing.is_terminal and not printing.is_dumb_terminal:
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
            found: Status | str = await get(url, Status)
        except UnavailableError as error:
            found = str(error)
        codes[-1] = _READY if isinstance(found, Status) and found.ready else _NOT_READY
        show(found)
        await trio.sleep(_WATCH_INTERVAL)


def _show_live(live: Live, found: Status | str) -> None:
    shown = Text(one_line(found), style="bold red") if isinstance(found, str) else view(found)
    live.update(Fitted(shown, _HOW_TO_END), refresh=True)


def _print_line(found: Status | str) -> None:
    sys.stdout.write(f"{one_line(found) if isinstance(found, str) else line(found)}\n")
    sys.stdout.flush()


def _print_json_line(found: Status | str) -> None:
    if isinstance(found, str):
        complain(found)
        return
    sys.stdout.write(f"{msgspec.json.encode(found).decode()}\n")
    sys.stdout.flush()
