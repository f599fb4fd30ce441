"""`broker explain`: what a running broker would do with a message now."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

from broker.cli.explain_view import view
from broker.cli.option_types import Format
from broker.cli.output import console, print_json
from broker.cli.status_endpoint import NoEndpointError, UnavailableError, endpoint_url, get
from broker.cli.taking_settings import taking_settings
from broker.core.messages import MAX_BODY_BYTES
from broker.router.explanation import Explanation
from broker.telemetry.one_line import complain
from broker.telemetry.tally import MessageOutcome

_DELIVERED, _NOT_DELIVERED = 0, 1


@taking_settings
def explain(
    given: Mapping[str, str],
    message: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    url: str | None = None,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Explain what a running broker would do with a chat message now. Nothing is done with it.

    Args:
        message: File with the message as JSON, or - for standard input.
        url: Address of another endpoint on this machine, such as http://127.0.0.1:9781; without
            it, of the one that BROKER_HTTP_HOST and BROKER_HTTP_PORT name.
    """
    try:
        body = _read(message)
    except OSError as error:
        return complain(f"{message} cannot be read: {error.strerror or error}")
    if len(body) > MAX_BODY_BYTES:
        return complain(f"{message} is larger than any message: {MAX_BODY_BYTES} bytes")
    try:
        served_at = endpoint_url(given, url, "/explain")
        found = trio.run(get, served_at, Explanation, body)
    except NoEndpointError as error:
        return error.report()
    except UnavailableError as error:
        complain(str(error))
        return _NOT_DELIVERED
    if format == "json":
        print_json(found)
    else:
        console().print(view(found))
    is_delivered = found.outcome in {MessageOutcome.ROUTED, MessageOutcome.FORWARDED}
    return _DELIVERED if is_delivered else _NOT_DELIVERED


def _read(message: str) -> bytes:
    most = MAX_BODY_BYTES + 1
    if message == "-":
        return sys.stdin.buffer.read(most)
    with Path(message).open("rb") as file:
        return file.read(most)
