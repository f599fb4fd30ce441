"""The status of a broker, as people see it on a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker.cli.output import utc
from broker.status.model import (
    Check,
    DeadLetters,
    HeldStatus,
    QueueStatus,
    RoutingStatus,
    Status,
)
from broker.status.wording import duration
from broker.telemetry.connectivity import ConnectionStatus
from broker.telemetry.one_line import one_line
from broker.telemetry.tally import DEAD_LETTERED, MessageOutcome

_LATEST = 5
_TONES = {"good": "green", "warn": "bold yellow", "bad": "bold red"}
_OUTCOMES = {
    MessageOutcome.ROUTED: "routed to an agent",
    MessageOutcome.NO_AGENT_ONLINE: "answered: no agent online",
    MessageOutcome.ONLY_SENDER_ONLINE: "answered: only the sender online",
    MessageOutcome.RECEIVER_OFFLINE: "answered: receiver offline",
    MessageOutcome.NO_CAPABLE_AGENT: "answered: no capable agent online",
    MessageOutcome.HELD: "held for a receiver",
    MessageOutcome.HELD_AGAIN: "held again",
    MessageOutcome.FORWARDED: "errors forwarded",
    MessageOutcome.REGISTERED: "agents registered",
    MessageOutcome.DISCONNECTED: "agents disconnected",
    MessageOutcome.ADVERTISED: "server advertisements",
    MessageOutcome.REPLICATED: "registry changes of other brokers",
    DEAD_LETTERED: "dead-lettered",
}


def view(status: Status) -> RenderableType:
    """Return all figures of a status, in tables."""
    return Group(
        *_head(status),
        *_queues(status.queues),
        _table(
            "Connections",
            ("to", "state", "for", "lost", "failed\ntries", "last error"),
            (
                _connection("RabbitMQ", status.connections.rabbitmq, _now(status)),
                _connection("server", status.connections.server, _now(status)),
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
        f"{status.verdict.word} \N{EN DASH} {readiness}: {status.rates.received:.1f} received/s, "
        f"{status.rates.published:.1f} published/s, {status.in_flight} in flight, "
        f"{status.registry.online} of {status.registry.known} agents online"
    )


def _head(status: Status) -> Iterable[Text]:
    verdict = status.verdict
    yield Text(one_line(verdict.word), style=_TONES[verdict.tone])
    if verdict.why:
        yield Text(one_line(verdict.why))
    text = Text(one_line(f"{status.broker_name} ({status.broker_id}) {status.version}, "))
    style = "green" if status.ready else "bold red"
    text.append("ready" if status.ready else "not ready", style=style)
    text.append(one_line(f", {status.state}, up for {duration(status.uptime_seconds)}"))
    yield text


def _queues(queues: Sequence[QueueStatus]) -> Iterable[RenderableType]:
    if queues:
        columns = ("role", "queue", "messages", "consumers", "growth", "")
        yield _table("Queues", columns, map(_queue, queues))


def _queue(queue: QueueStatus) -> tuple[str | Text, ...]:
    if queue.messages is None:
        return queue.role.replace("_", " "), queue.name, "not known", "", "", ""
    return (
        queue.role.replace("_", " "),
        queue.name,
        f"{queue.messages:,}",
        f"{queue.consumers:,}",
        "" if queue.growth is None else f"{round(queue.growth, 1) + 0.0:+,.1f}/s",
        Text("" if queue.state == "ok" else queue.state, style=_TONES["warn"]),
    )


def _connection(name: str, connection: ConnectionStatus, now: datetime) -> tuple[str | Text, ...]:
    is_connected = connection.state == "connected"
    return (
        f"{name} {connection.peer}",
        Text(one_line(connection.state), style=_TONES["good" if is_connected else "bad"]),
        _ago(connection.since, now),
        str(connection.lost),
        str(connection.failed_tries),
        _error(connection, now),
    )


def _error(connection: ConnectionStatus, now: datetime) -> Text:
    """Return the last error, and when it was: it is past while there is a connection."""
    if connection.error is None:
        return Text("")
    style = _TONES["bad"] if connection.state == "connecting" else "dim"
    at = connection.error_at
    ago = "" if at is None else f"{_ago(at, now)} ago: "
    return Text(one_line(f"{ago}{connection.error}"), style=style)


def _ago(moment: datetime, now: datetime) -> str:
    return duration(max(0.0, (now - moment).total_seconds()))


def _check(check: Check) -> tuple[str | Text, ...]:
    if check.problem is None:
        return check.name, Text("ok", style="green")
    style = _TONES["bad"] if check.is_known else "dim"
    return check.name, Text(one_line(check.problem), style=style)


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
        ("in flight", _in_flight(status)),
        ("agents online", f"{registry.online:,} of {registry.known:,}"),
        ("registry", f"{freshness}, {when}"),
    )


def _in_flight(status: Status) -> str:
    count, age = f"{status.in_flight:,}", status.oldest_in_flight_seconds
    return count if age is None else f"{count}, the oldest for {duration(age)}"


def _held(held: HeldStatus) -> str:
    count = "not known" if held.messages is None else f"{held.messages:,}"
    deadline = held.earliest_deadline
    return count if deadline is None else f"{count}, the first until {utc(deadline)}"


def _messages(status: Status) -> Iterable[tuple[str, str]]:
    messages = status.messages
    yield "received", f"{messages.received:,}"
    yield "redelivered to the broker", f"{messages.redelivered:,}"
    for outcome, count in messages.outcomes.items():
        if count:
            yield _OUTCOMES.get(outcome, outcome.replace("_", " ")), f"{count:,}"


def _dead_letters(letters: DeadLetters) -> Iterable[RenderableType]:
    if letters.by_reason and any(letters.by_reason.values()):
        yield _table("Dead letters", ("reason", "messages"), _counts(letters.by_reason))
    if letters.latest:
        yield _table(
            "Latest dead letters",
            ("reason", "from queue", "at"),
            ((note.reason, note.queue, utc(note.at)) for note in letters.latest[:_LATEST]),
        )


def _counts(counts: Mapping[str, int]) -> Iterable[tuple[str, str]]:
    return ((name.replace("_", " "), f"{count:,}") for name, count in counts.items() if count)


def _problems(checks: Iterable[Check]) -> str:
    failed = (one for one in checks if one.problem is not None and one.is_known)
    return "; ".join(f"{one.name}: {one.problem}" for one in failed)


def _now(status: Status) -> datetime:
    """Return the time of a status by the broker's clock."""
    return status.started_at + timedelta(seconds=status.uptime_seconds)


def _table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[str | Text]]
) -> RenderableType:
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        # Names and errors are copied from here, so they are folded and never cut.
        table.add_column(column, overflow="fold")
    for row in rows:
        # Whatever the broker was told by others stays text, on one line.
        table.add_row(*(Text(one_line(cell)) if isinstance(cell, str) else cell for cell in row))
    return table
