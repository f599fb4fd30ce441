"""The status of a broker, as people see it on a terminal."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker.status.model import Check, DeadLetters, HeldStatus, RoutingStatus, Status
from broker.status.wording import duration
from broker.telemetry.connectivity import ConnectionStatus
from broker.telemetry.one_line import one_line

_LATEST = 5


def view(status: Status) -> RenderableType:
    """Return all figures of a status, in tables."""
    return Group(
        _head(status),
        _table(
            "Connections",
            ("to", "state", "since", "reconnects", "last error"),
            (
                _connection("RabbitMQ", status.connections.rabbitmq),
                _connection("server", status.connections.server),
            ),
        ),
        _table("Checks", ("check", "result"), map(_check, status.checks)),
        _table("Figures", ("figure", "value"), _figures(status)),
        _table("Messages since the start", ("outcome", "messages"), _messages(status)),
        *_dead_letters(status.dead_letters),
    )


def line(status: Status) -> str:
    """Return the most important figures in a line."""
    readiness = "ready" if status.ready else f"not ready ({_problems(status.checks)})"
    return one_line(
        f"{readiness}, {status.state}: {status.rates.received:.1f} received/s, "
        f"{status.rates.published:.1f} published/s, {status.in_flight} in flight, "
        f"{status.registry.online} of {status.registry.known} agents online"
    )


def _head(status: Status) -> Text:
    text = Text(one_line(f"{status.broker_name} ({status.broker_id}) {status.version}, "))
    style = "green" if status.ready else "bold red"
    text.append("ready" if status.ready else "not ready", style=style)
    text.append(one_line(f", {status.state}, up for {duration(status.uptime_seconds)}"))
    return text


def _connection(name: str, connection: ConnectionStatus) -> tuple[str | Text, ...]:
    style = "green" if connection.state == "connected" else "bold red"
    return (
        f"{name} {connection.peer}",
        Text(one_line(connection.state), style=style),
        _moment(connection.since),
        str(connection.reconnects),
        connection.error or "",
    )


def _check(check: Check) -> tuple[str | Text, ...]:
    if check.problem is None:
        return check.name, Text("ok", style="green")
    return check.name, Text(one_line(check.problem), style="bold red")


def _figures(status: Status) -> Iterable[tuple[str, str]]:
    registry = status.registry
    freshness = "fresh" if registry.is_fresh else "not fresh"
    age = registry.age_seconds
    when = "no update yet" if age is None else f"updated {duration(age)} ago"
    routing = status.routing
    if routing != RoutingStatus():
        yield "routing policy", f"{routing.policy}, receiver_id: {routing.receiver}"
    if status.held.seconds:
        yield "held", _held(status.held)
    yield from (
        ("received per second", f"{status.rates.received:.1f}"),
        ("published per second", f"{status.rates.published:.1f}"),
        ("in flight", f"{status.in_flight:,}"),
        ("agents online", f"{registry.online:,} of {registry.known:,}"),
        ("registry", f"{freshness}, {when}"),
    )


def _held(held: HeldStatus) -> str:
    count = "not known" if held.messages is None else f"{held.messages:,}"
    deadline = held.earliest_deadline
    return count if deadline is None else f"{count}, the first until {_moment(deadline)}"


def _messages(status: Status) -> Iterable[tuple[str, str]]:
    messages = status.messages
    yield "received", f"{messages.received:,}"
    yield "redelivered to the broker", f"{messages.redelivered:,}"
    yield from _counts(messages.outcomes)


def _dead_letters(letters: DeadLetters) -> Iterable[RenderableType]:
    if letters.by_reason and any(letters.by_reason.values()):
        yield _table("Dead letters", ("reason", "messages"), _counts(letters.by_reason))
    if letters.latest:
        yield _table(
            "Latest dead letters",
            ("reason", "from queue", "at"),
            ((note.reason, note.queue, _moment(note.at)) for note in letters.latest[:_LATEST]),
        )


def _counts(counts: Mapping[str, int]) -> Iterable[tuple[str, str]]:
    return ((name.replace("_", " "), f"{count:,}") for name, count in counts.items() if count)


def _problems(checks: Iterable[Check]) -> str:
    return "; ".join(f"{one.name}: {one.problem}" for one in checks if one.problem is not None)


def _table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[str | Text]]
) -> RenderableType:
    table = Table(
        *columns,
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for row in rows:
        # Whatever the broker was told by others stays text, on one line.
        table.add_row(*(Text(one_line(cell)) if isinstance(cell, str) else cell for cell in row))
    return table


def _moment(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
