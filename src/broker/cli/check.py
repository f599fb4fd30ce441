"""`broker check`: whether all is as the broker needs it, before it runs or beside one that does."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import trio
from rich.text import Text

from broker.amqp import open_rabbit
from broker.central import ServerAddress, SessionTerms
from broker.cli.checks.http_port import check_http_port
from broker.cli.checks.item import Item
from broker.cli.checks.rabbitmq import Wanted, check_rabbitmq
from broker.cli.checks.routing_policy import check_policy
from broker.cli.checks.server import check_server
from broker.cli.durable_queues import durable_queues
from broker.cli.option_types import Format, ManagementUrl
from broker.cli.output import console, print_json
from broker.cli.taking_settings import taking_settings
from broker.settings import Settings, SettingsError, load_settings
from broker.settings.unknown import UnknownVariable, unknown_variables
from broker.telemetry.logs import configure_logging
from broker.telemetry.one_line import complain, one_line


@taking_settings
def check(
    given: Mapping[str, str],
    *,
    format: Format = "text",  # noqa: A002 - named like the option
    register: bool = True,
    management_url: ManagementUrl = None,
) -> int:
    """Check RabbitMQ, the central server, the HTTP port and the routing policy as configured.

    Args:
        register: Register at the server, as 'BROKER_NAME (check)'.
        management_url: RabbitMQ's management API, such as http://localhost:15672, to see policies.
    """
    unknown: list[UnknownVariable] = []
    try:
        unknown += unknown_variables()
        settings = load_settings(given)
    except SettingsError as error:
        return complain(*error.problems, *map(str, unknown))
    configure_logging("critical", "console")  # what goes wrong is told in the list
    items = _run(settings, register=register, management_url=management_url)
    is_ok = all(item.ok for item in items)
    if format == "json":
        names = list(map(str, unknown))
        print_json({"ok": is_ok, "checks": items, "unknown_variables": names})
    else:
        _print(items)
        complain(*map(str, unknown))
    return 0 if is_ok else 1


def _run(settings: Settings, *, register: bool, management_url: str | None) -> list[Item]:
    checks = partial(run_checks, settings, register=register, management_url=management_url)
    items: list[Item] | None = None
    # A nursery puts the interrupt into a group, out of which this takes it.
    with suppress(KeyboardInterrupt):
        items = trio.run(checks, restrict_keyboard_interrupt_to_checkpoints=True)
    if items is None:
        raise KeyboardInterrupt
    return items


async def run_checks(
    settings: Settings, *, register: bool, management_url: str | None = None
) -> list[Item]:
    """Check everything at once, in half a minute at most."""
    name = f"{settings.broker_name} (check)"
    queues = durable_queues(settings)
    wanted = Wanted(
        name=name,
        consumed=tuple(queue.name for queue in queues if queue.is_consumed),
        published=tuple(queue.name for queue in queues if not queue.is_consumed),
        outputs=settings.broker_output_queue,
        exchange=settings.broker_registry_exchange,
        has_url=settings.amqp_url is not None,
        tls=settings.amqp_tls,
        nodes=settings.amqp_nodes,
        management_url=management_url,
    )
    server = ServerAddress.of(settings)
    terms = SessionTerms(name, silence=settings.broker_websocket_silence)

    async def http_port() -> list[Item]:
        return [await check_http_port(settings.broker_http_host, settings.broker_http_port)]

    async with open_rabbit() as rabbit:
        found = await _together(
            *(partial(check_rabbitmq, rabbit, node, wanted) for node in settings.amqp_endpoints),
            partial(check_server, server, terms, register=register),
            http_port,
        )
    return [*found, check_policy(settings.broker_routing_policy)]


async def _together(*checks: Callable[[], Awaitable[list[Item]]]) -> list[Item]:
    found: list[list[Item]] = [[] for _ in checks]

    async def run(number: int) -> None:
        found[number] = await checks[number]()

    async with trio.open_nursery() as nursery:
        for number in range(len(checks)):
            nursery.start_soon(run, number)
    return [item for items in found for item in items]


def _mark(item: Item) -> tuple[str, str]:
    if not item.ok:
        return "[failed]", "bold red"
    return ("[ok]", "green") if item.advice is None else ("[warning]", "bold yellow")


def _print(items: Sequence[Item]) -> None:
    printing = console()
    for item in items:
        text = Text(*_mark(item))
        text.append(
            one_line(f" {item.subject}, {item.name}: {item.found}"), style="not bold default"
        )
        if item.advice is not None:
            text.append(f" \N{EN DASH} {one_line(item.advice)}", style="not bold default")
        printing.print(text, soft_wrap=True)
