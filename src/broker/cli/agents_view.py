"""Agents as people see them on a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker.status.model import AgentEntry, AgentList
from broker.status.wording import duration
from broker.telemetry.one_line import one_line

_LONGEST_NAME = 80
_LONGEST_CAPABILITY = 40
_MOST_CAPABILITIES = 8
_FEW = 10.0
"""Seconds below which tenths are told."""


def view(listed: AgentList, offset: int, *, is_filtered: bool) -> RenderableType:
    """Return a page of agents in a table, and which page of how many it is.

    Args:
        offset: How many agents come before the page.
        is_filtered: Whether only some agents were asked for.
    """
    summary = Text(_summary(listed, offset, is_filtered=is_filtered), style="dim")
    return Group(_table(listed.agents), "", summary) if listed.agents else summary


def _table(agents: Sequence[AgentEntry]) -> Table:
    has_answers = any(_follows_answers(agent) for agent in agents)
    has_capabilities = any(agent.capabilities for agent in agents)
    table = Table(header_style="dim", box=None, padding=(0, 2, 0, 0))
    # Ids are copied from here, so they are folded and never cut.
    table.add_column("agent\nid", overflow="fold")
    table.add_column("state\nlast seen", no_wrap=True)
    table.add_column("routed\nlast sent", justify="right", no_wrap=True)
    if has_answers:
        table.add_column("outstanding\nanswers in", justify="right", no_wrap=True)
    if has_capabilities:
        table.add_column("capabilities", overflow="fold")
    now = datetime.now(UTC)
    for agent in agents:
        cells = [_who(agent), _state(agent, now), _traffic(agent, now)]
        if has_answers:
            cells.append(_answers(agent))
        if has_capabilities:
            cells.append(Text(_capabilities(agent.capabilities)))
        table.add_row(*cells)
    return table


def _follows_answers(agent: AgentEntry) -> bool:
    return agent.outstanding is not None or agent.answer_seconds is not None


def _who(agent: AgentEntry) -> Text:
    text = Text(_cut(agent.agent_name, _LONGEST_NAME))
    text.append(f"\n{one_line(agent.agent_id)}", style="dim")
    return text


def _state(agent: AgentEntry, now: datetime) -> Text:
    text = Text("online", style="green") if agent.is_online else Text("offline")
    if agent.source == "queue":
        text.append(" (queue)", style="dim")
    if agent.last_seen is not None:
        text.append(f"\n{_ago(agent.last_seen, now)}", style="dim")
    return text


def _traffic(agent: AgentEntry, now: datetime) -> Text:
    """Return how many messages went to an agent, and when the last one came from it."""
    text = Text(f"{agent.routed:,}")
    if agent.last_message_at is not None:
        text.append(f"\n{_ago(agent.last_message_at, now)}", style="dim")
    return text


def _ago(moment: datetime, now: datetime) -> str:
    # A server that names no time zone means its own, which is mostly ours.
    return f"{duration(max(0.0, (now - moment.astimezone(UTC)).total_seconds()))} ago"


def _answers(agent: AgentEntry) -> Text:
    text = Text("-" if agent.outstanding is None else f"{agent.outstanding:,}")
    if agent.answer_seconds is not None:
        text.append(f"\n{seconds_text(agent.answer_seconds)}", style="dim")
    return text


def seconds_text(seconds: float) -> str:
    """Return how long an answer takes, for people."""
    return f"{seconds:.1f} s" if seconds < _FEW else duration(seconds)


def _capabilities(capabilities: Sequence[str]) -> str:
    shown = [_cut(one, _LONGEST_CAPABILITY) for one in capabilities[:_MOST_CAPABILITIES]]
    more = len(capabilities) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more else "")


def _cut(text: str, longest: int) -> str:
    shown = one_line(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def _summary(listed: AgentList, offset: int, *, is_filtered: bool) -> str:
    matching = f"{listed.matching:,} matching, " if is_filtered else ""
    in_all = f"{matching}{listed.known:,} known"
    if not listed.agents:
        return f"No agent to list: {in_all}."
    last = offset + len(listed.agents)
    text = f"Agents {offset + 1:,} to {last:,}: {in_all}."
    return text if last >= listed.matching else f"{text} Next page: --offset {last}"
