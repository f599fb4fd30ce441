"""The picture of a running sandbox: who is online, what happens, and the sum of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.console import RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from broker.sandbox.accounting import Ledger
from broker.sandbox.agents import Agent
from broker.sandbox.controls import HINT
from broker.sandbox.feed import Entry, Event, Feed, NotRouted, Routed
from broker.sandbox.rates import sparkline
from broker.sandbox.summary import balance
from broker.telemetry.one_line import one_line

_PANEL_BORDERS = 2
_TABLE_HEADER = 1
_AGENTS_WIDTH = 32
_BAR_WIDTH = 6
_FRESH = 10.0
"""Seconds for which the latest event is shown below the messages."""
_LOW = 16
"""A terminal with fewer lines shows neither the keys nor the line to paste."""
_BLOCKS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class State:
    """How the parts of the sandbox are doing.

    Attributes:
        pid: The broker's process; None while it is dead.
        is_connected: Whether the broker is registered with the server.
        uptime: Seconds since the broker was started last.
        kills: How often the broker was killed.
        page: The URL of its status page.
        invitation: A command that sends a message.
        policy: Its routing policy.
        hold: Seconds for which it holds what nobody can receive.
        is_serving: Whether the server is not paused.
    """

    pid: int | None
    is_connected: bool
    uptime: float
    page: str
    invitation: str
    kills: int = 0
    policy: str = "random"
    hold: float = 0.0
    is_restarting: bool = False
    is_serving: bool = True
    is_rabbitmq_up: bool = True


@dataclass(frozen=True, slots=True)
class Rates:
    """Messages per second: now, and in each of the last seconds."""

    now: float
    history: Sequence[float] = ()


def draw(
    agents: Sequence[Agent],
    ledger: Ledger,
    state: State,
    rates: Rates,
    *,
    width: int,
    height: int,
    has_keys: bool = False,
) -> RenderableType:
    """Draw one picture for a terminal of so many columns and lines."""
    is_low = height < _LOW
    header = [_page(state, width), _parts(state)]
    below: list[RenderableType] = []
    if not is_low:
        header.append(_invitation(state))
        below.append(Text(f" {HINT}" if has_keys else " Ctrl-C ends it", "dim", no_wrap=True))
    sums = wrap(balance(ledger), max(1, width - _PANEL_BORDERS))
    footer_height = len(sums) + 1 + _PANEL_BORDERS
    room = max(1, height - len(header) - footer_height - len(below) - _PANEL_BORDERS)
    body = Layout()
    body.split_row(
        Layout(
            _agents(agents, ledger, state, room - _TABLE_HEADER),
            ratio=2,
            minimum_size=min(_AGENTS_WIDTH, width // 2),
        ),
        Layout(_happenings(ledger.feed, agents, room), ratio=3),
    )
    picture = Layout()
    picture.split_column(
        *(Layout(line, size=1) for line in header),
        body,
        Layout(_footer(ledger, sums, rates, width), size=footer_height),
        *(Layout(line, size=1) for line in below),
    )
    return picture


def _page(state: State, width: int) -> Text:
    line = Text(no_wrap=True)
    label = " status page  "
    if len(label) + len(state.page) <= width:  # else the URL would be cut off
        line.append(label, "dim")
    return line.append(state.page, "bold underline")


def _parts(state: State) -> Text:
    line = Text(" ", no_wrap=True, overflow="ellipsis")
    rabbitmq = ("● RabbitMQ", "green") if state.is_rabbitmq_up else ("● RabbitMQ down", "red")
    server = ("● server", "green") if state.is_serving else ("● server paused", "yellow")
    line.append(*rabbitmq).append("  ").append(*server).append("  ")
    if state.pid is None:
        line.append("● broker restarting" if state.is_restarting else "● broker ended", "red")
    else:
        connected = ("● broker", "green") if state.is_connected else ("● broker waits", "yellow")
        line.append(*connected)
        minutes, seconds = divmod(int(state.uptime), 60)
        line.append(f"  pid {state.pid} up {minutes}:{seconds:02}", "dim")
    if state.kills:
        line.append(f" kills {state.kills}", "dim")
    return line


def _invitation(state: State) -> Text:
    line = Text(" try  ", "dim", no_wrap=True, overflow="ellipsis")
    return line.append(state.invitation, "not dim")


def _agents(agents: Sequence[Agent], ledger: Ledger, state: State, room: int) -> RenderableType:
    # Of interest to those who see the load shift, or pile up.
    shows_ahead = state.policy == "least_outstanding" or any(agent.desk for agent in agents)
    table = Table(box=None, expand=True, header_style="dim", padding=(0, 1, 0, 0))
    table.add_column("agent", no_wrap=True, ratio=1)
    table.add_column("sent", justify="right", no_wrap=True)
    table.add_column("got", justify="right", no_wrap=True)
    if shows_ahead:
        table.add_column("ahead", justify="right", no_wrap=True)
    table.add_column("share", no_wrap=True, width=_BAR_WIDTH)
    fitting = agents if len(agents) <= room else agents[: max(0, room - 1)]
    largest = max((ledger.received_by[agent.agent_id] for agent in agents), default=0)
    for agent in fitting:
        received = ledger.received_by[agent.agent_id]
        table.add_row(
            _name(agent),
            str(ledger.sent_by[agent.agent_id]),
            str(received),
            *([str(ledger.ahead_of[agent.agent_id])] if shows_ahead else []),
            Text(_bar(received / largest if largest else 0.0), "blue"),
            style="" if agent.online.is_open else "dim",
        )
    if len(fitting) < len(agents):
        table.add_row(f"and {len(agents) - len(fitting)} more", style="dim")
    online = sum(agent.online.is_open for agent in agents)
    chosen = [] if state.policy == "random" else [state.policy]
    held = [f"hold {state.hold:g}s"] if state.hold else []
    return Panel(
        table,
        title=f"{online} of {len(agents)} online",
        subtitle=" ".join((*chosen, *held)) or None,
        border_style="blue",
        padding=0,
    )


def _name(agent: Agent) -> Text:
    if not agent.online.is_open:
        return Text(f"○ {agent.agent_name}", "dim")
    mark = ("◐ ", "yellow") if agent.desk else ("● ", "green")
    return Text.assemble(mark, agent.agent_name)


def _bar(share: float) -> str:
    """Draw a share, from 0 to 1, in eighths of a character."""
    eighths = round(share * _BAR_WIDTH * 8)
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def _happenings(feed: Feed, agents: Sequence[Agent], room: int) -> RenderableType:
    names = {agent.agent_id: agent.agent_name for agent in agents}
    lines = Text(no_wrap=True, overflow="ellipsis")
    for entry in [*feed.entries][: -room - 1 : -1]:
        lines.append_text(_line(entry, names)).append("\n")
    # It stays when the messages that were waiting have pushed it out of the list.
    latest = feed.events[-1] if feed.events else None
    is_fresh = latest is not None and feed.now() - latest.at < _FRESH
    return Panel(
        lines,
        title="messages, the latest on top",
        subtitle=_line(latest, names) if latest is not None and is_fresh else None,
        border_style="blue",
        padding=0,
    )


def _line(entry: Entry, names: Mapping[str, str]) -> Text:
    def named(agent_id: str) -> str:
        return names.get(agent_id) or one_line(agent_id)

    match entry:
        case Routed(sender_id, receiver_id, message_type, text):
            return Text.assemble(
                (f"{message_type:5} ", "dim"),
                f"{named(sender_id)} → {named(receiver_id)}  ",
                (f"“{one_line(text)}”", "cyan"),
            )
        case NotRouted(sender_id, reason, text, is_dead_letter):
            return Text.assemble(
                ("DEAD  " if is_dead_letter else "ERROR ", "bold red"),
                (f"{named(sender_id)} ✗ {one_line(reason)}", "red"),
                (f"  “{one_line(text)}”" if text else "", "dim"),
            )
        case Event(_, text, is_trouble):
            return Text(f"━━ {text}", "bold red" if is_trouble else "bold green")


def _footer(ledger: Ledger, sums: Sequence[str], rates: Rates, width: int) -> RenderableType:
    lines = Text("\n".join(sums), no_wrap=True, overflow="ellipsis")
    lines.highlight_words(["failed", "dead-lettered"], "red")
    lines.highlight_words(["delivered"], "green")
    rate = f"\n{rates.now:.1f}/s "
    duplicates = f"  duplicates {ledger.duplicates}"
    room = width - _PANEL_BORDERS - len(rate) - len(duplicates)
    lines.append(rate, "bold").append(sparkline(rates.history, room), "cyan")
    lines.append(duplicates, "dim")
    if not ledger.unexpected_count:
        return Panel(lines, border_style="blue", padding=0)
    title = f"unexpected: {one_line(ledger.unexpected[0])}"
    return Panel(lines, title=Text(title), border_style="red", padding=0)
