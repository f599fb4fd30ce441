"""The live view: who is online, who was routed to whom, and how the broker is doing."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import trio
from rich.console import Console, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from broker.sandbox.accounting import Ledger, Route
from broker.sandbox.agents import Agent

REFRESH_INTERVAL = 0.1
"""Seconds between two pictures."""
_RATE_SPAN = 5.0
_HEADER_HEIGHT = 1
_FOOTER_HEIGHT = 4
_PANEL_BORDERS = 2
_TABLE_HEADER = 1


@dataclass(frozen=True, slots=True)
class BrokerState:
    """How the broker is doing: its process, registration, seconds of uptime, page and settings."""

    pid: int
    is_running: bool
    is_connected: bool
    uptime: float
    page: str | None = None
    policy: str = "random"
    hold: float = 0.0


class RateMeter:
    """How fast a counter grows: the average of the last seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()

    def rate(self, count: int) -> float:
        """Take the counter's value of now, and return its growth per second."""
        now = self._clock()
        self._samples.append((now, count))
        while now - self._samples[0][0] > _RATE_SPAN:
            self._samples.popleft()
        since, before = self._samples[0]
        return (count - before) / (now - since) if now > since else 0.0


async def watch(
    console: Console, agents: Sequence[Agent], ledger: Ledger, broker: Callable[[], BrokerState]
) -> None:
    """Show the live view on the whole terminal until cancelled, and restore the terminal."""
    meter = RateMeter()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            rate = meter.rate(ledger.accounted_for)
            picture = draw(agents, ledger, broker(), rate=rate, height=console.height)
            live.update(picture, refresh=True)
            await trio.sleep(REFRESH_INTERVAL)


async def watch_progress(console: Console, ledger: Ledger, messages: int) -> None:
    """Show a progress bar until cancelled."""
    columns = (TextColumn("accounted for"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar = progress.add_task("", total=messages)
        try:
            while True:
                progress.update(bar, completed=ledger.accounted_for, refresh=True)
                await trio.sleep(REFRESH_INTERVAL)
        finally:
            progress.update(bar, completed=ledger.accounted_for, refresh=True)


def draw(
    agents: Sequence[Agent], ledger: Ledger, broker: BrokerState, *, rate: float, height: int
) -> RenderableType:
    """Draw one picture, at so many messages per second, for a terminal of so many lines."""
    room = max(1, height - _HEADER_HEIGHT - _FOOTER_HEIGHT - _PANEL_BORDERS)
    body = Layout()
    body.split_row(
        Layout(_agents(agents, ledger, broker, room - _TABLE_HEADER), ratio=3),
        Layout(_routes(ledger.recent_routes, agents, room), ratio=2),
    )
    picture = Layout()
    picture.split_column(
        Layout(_header(broker), size=_HEADER_HEIGHT),
        body,
        Layout(_footer(ledger, rate), size=_FOOTER_HEIGHT),
    )
    return picture


def _header(broker: BrokerState) -> RenderableType:
    if not broker.is_running:
        state = ("● ended", "red")
    else:
        state = ("● connected", "green") if broker.is_connected else ("● not connected", "yellow")
    minutes, seconds = divmod(int(broker.uptime), 60)
    page = f"  status page: {broker.page}" if broker.page else ""
    up = f"  pid {broker.pid}  up {minutes}:{seconds:02}  "
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right")
    line.add_row(
        Text.assemble((" broker", "bold"), up, state, page), Text("Ctrl-C ends it ", style="dim")
    )
    return line


def _agents(
    agents: Sequence[Agent], ledger: Ledger, broker: BrokerState, room: int
) -> RenderableType:
    # Of interest to those who see the load shift, or pile up.
    shows_ahead = broker.policy == "least_outstanding" or any(agent.desk for agent in agents)
    table = Table(box=None, expand=True, header_style="dim", padding=(0, 1))
    table.add_column("agent", no_wrap=True, ratio=1)
    table.add_column("")
    table.add_column("sent", justify="right")
    table.add_column("received", justify="right")
    if shows_ahead:
        table.add_column("ahead", justify="right")
    fitting = agents if len(agents) <= room else agents[: max(0, room - 1)]
    for agent in fitting:
        is_online = agent.online.is_open
        table.add_row(
            agent.agent_name,
            _state(agent),
            str(ledger.sent_by[agent.agent_id]),
            str(ledger.received_by[agent.agent_id]),
            *([str(ledger.ahead_of[agent.agent_id])] if shows_ahead else []),
            style="" if is_online else "dim",
        )
    if len(fitting) < len(agents):
        table.add_row(f"and {len(agents) - len(fitting)} more", style="dim")
    online = sum(agent.online.is_open for agent in agents)
    chosen = "" if broker.policy == "random" else f", {broker.policy}"
    held = f", held for {broker.hold:g} s" if broker.hold else ""
    title = f"{online} of {len(agents)} agents online{chosen}{held}"
    return Panel(table, title=title, border_style="blue")


def _state(agent: Agent) -> Text:
    if not agent.online.is_open:
        return Text("○ offline", "dim")
    return Text("● slow", "yellow") if agent.desk else Text("● online", "green")


def _routes(routes: Sequence[Route], agents: Sequence[Agent], room: int) -> RenderableType:
    names = {agent.agent_id: agent.agent_name for agent in agents}
    lines = Text(no_wrap=True, overflow="ellipsis")
    for route in [*routes][: -room - 1 : -1]:
        sender, receiver = (names.get(agent_id, agent_id) for agent_id in route)
        lines.append(f"{sender} → {receiver}\n")
    return Panel(lines, title="latest routes", border_style="blue")


def _footer(ledger: Ledger, rate: float) -> RenderableType:
    table = Table.grid(expand=True, padding=(0, 1))
    numbers = {
        "sent": (str(ledger.sent), ""),
        "under way": (str(ledger.open), ""),
        "routed": (str(ledger.routed), "green"),
        "errors": (str(ledger.failed), "yellow"),
        "dead letters": (str(ledger.dead_lettered), "yellow"),
        "duplicates": (str(ledger.duplicates), ""),
        "per second": (f"{rate:.1f}", "bold"),
    }
    for _ in numbers:
        table.add_column(justify="center", no_wrap=True)
    table.add_row(*(Text(name, "dim") for name in numbers))
    table.add_row(*(Text(number, style) for number, style in numbers.values()))
    if not ledger.unexpected_count:
        return Panel(table, border_style="blue")
    return Panel(table, title=f"unexpected: {ledger.unexpected[0]}", border_style="red")
