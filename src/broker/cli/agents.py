"""`broker agents`: the agents that a running broker knows."""

from collections.abc import Mapping
from typing import Annotated

import trio
from cyclopts import Parameter

from broker.cli.agents_view import view
from broker.cli.option_types import Format, Switch, within
from broker.cli.output import console, print_json
from broker.cli.status_endpoint import (
    NoEndpointError,
    UnavailableError,
    endpoint_url,
    get,
    with_query,
)
from broker.cli.taking_settings import taking_settings
from broker.status.model import AgentList
from broker.telemetry.one_line import complain

_LISTED, _UNAVAILABLE = 0, 1


@taking_settings
def agents(
    given: Mapping[str, str],
    *,
    url: str | None = None,
    online: Switch = False,
    capability: str = "",
    search: str = "",
    limit: Annotated[int, Parameter(validator=within(1, 1_000))] = 100,
    offset: Annotated[int, Parameter(validator=within(0, 100_000))] = 0,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """List the agents that a running broker knows, online ones first, then by name.

    Args:
        url: Address of another broker's endpoint, such as http://10.0.0.1:9780; without it, of
            the one that BROKER_HTTP_HOST and BROKER_HTTP_PORT name.
        online: Only those that are online.
        capability: Only those that have this capability.
        search: Only those with this in their id or name, in upper or lower case.
        limit: Number of agents to list at most.
        offset: Number of agents to skip, for the next page.
    """
    parameters = {
        "search": search,
        "online": "true" if online else "",
        "capability": capability,
        "limit": limit,
        "offset": offset or "",
    }
    try:
        served_at = with_query(endpoint_url(given, url, "/agents"), parameters)
        found = trio.run(get, served_at, AgentList)
    except NoEndpointError as error:
        return error.report()
    except UnavailableError as error:
        complain(str(error))
        return _UNAVAILABLE
    if format == "json":
        print_json(found)
    else:
        console().print(view(found, offset, is_filtered=bool(online or capability or search)))
    return _LISTED
