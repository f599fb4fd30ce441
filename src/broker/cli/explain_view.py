"""What would become of a message, as people read it on a terminal."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker.cli.agents_view import seconds_text
from broker.core.routing.hash_ring import RingPlace
from broker.core.routing.least_outstanding import Cost
from broker.router.explanation import Explanation, Filter, PolicyView
from broker.telemetry.one_line import one_line
from broker.telemetry.tally import DEAD_LETTERED, MessageOutcome

_PAUSED = (
    "The broker takes no messages now, as it does not know who is online: messages wait in "
    "RabbitMQ. By what it knew last:"
)
_FAILURES: dict[str, str] = {
    MessageOutcome.NO_AGENT_ONLINE: "no agent is online",
    MessageOutcome.ONLY_SENDER_ONLINE: "only its sender is online",
    MessageOutcome.RECEIVER_OFFLINE: "the receiver that it names is not online, or is its sender",
    MessageOutcome.NO_CAPABLE_AGENT: "no agent that is online has all capabilities it requires",
}
_PROBLEMS = {
    "unknown": "no such agent is known",
    "offline": "it is offline",
    "is_sender": "it is the sender",
    "not_capable": "it lacks a capability",
}


def view(explanation: Explanation) -> RenderableType:
    """Return the verdict in a sentence, and below it how it comes about."""
    parts: list[RenderableType] = [Text(_PAUSED, style="bold red")] if explanation.paused else []
    parts.append(_verdict(explanation))
    if explanation.filters:
        parts.append(_filters(explanation.filters))
    if explanation.policy is not None:
        parts += _policy(explanation.policy, explanation.receiver_id)
    return Group(*parts)


def _verdict(explanation: Explanation) -> Text:
    outcome, receiver_id = explanation.outcome, explanation.receiver_id
    match outcome:
        case MessageOutcome.ROUTED if receiver_id is not None:
            return _good(f"It would be routed to {receiver_id}.")
        case MessageOutcome.ROUTED:
            return _good("It would be routed to one of several agents.")
        case MessageOutcome.FORWARDED:
            return _good("It would be forwarded to the server, as an ERROR is not routed.")
        case str() if outcome == DEAD_LETTERED:
            why = f"{explanation.reason}: {explanation.error}"
            return _bad(f"It would be dead-lettered as {why}.")
    why = _FAILURES.get(outcome, "")
    error = f"answered by an ERROR, {outcome}{': ' if why else ''}{why}"
    if explanation.held_seconds is not None:
        seconds = seconds_text(explanation.held_seconds)
        return _bad(f"It would be held until somebody can receive it, and after {seconds} {error}.")
    return _bad(f"It would be {error}.")


def _good(text: str) -> Text:
    return Text(one_line(text), style="bold green")


def _bad(text: str) -> Text:
    return Text(one_line(text), style="bold red")


def _filters(filters: Iterable[Filter]) -> Table:
    table = _table("Agents left", ("filter", "left", ""))
    for one in filters:
        problem = "" if one.problem is None else _PROBLEMS.get(one.problem, one.problem)
        table.add_row(_cell(_filter(one)), Text(f"{one.left:,}"), _cell(problem))
    return table


def _filter(one: Filter) -> str:
    match one.name:
        case "not_sender":
            return "other than its sender"
        case "receiver":
            return f"its receiver_id {one.value}"
        case "capability":
            return f"able to {one.value}"
    return one.name


def _policy(policy: PolicyView, receiver_id: str | None) -> Iterable[RenderableType]:
    chosen = receiver_id or "it"
    if not policy.is_known:
        text = f"chooses among {policy.candidates:,}, or none of them. "
        text += "It is not called for an explanation, as that may have effects."
    elif policy.candidates == 1:
        text = "has only one to choose from."
    elif policy.key is not None:
        text = f"gives the conversation {policy.key} to {chosen}, of {policy.candidates:,}."
        if policy.place is not None:
            text += _on_the_ring(policy.place, receiver_id)
    elif policy.compared:
        text = f"compares two of {policy.candidates:,}, drawn at random. {_compared(policy)}"
    else:
        text = f"chooses any of {policy.candidates:,}."
    yield Text(f"\n{one_line(f'The policy {policy.name} {text}')}")
    if policy.compared:
        yield _costs(policy.compared)


def _on_the_ring(place: RingPlace, receiver_id: str | None) -> str:
    nearest = "its nearest point"
    if place.agent_id != receiver_id:
        nearest = f"the nearest point is that of {place.agent_id}, who may not receive it,"
    return f" On the ring it lies at {place.at:.4f}, and {nearest} at {place.point:.4f}."


def _compared(policy: PolicyView) -> str:
    first, second = policy.compared
    if first.cost == second.cost:
        return "Chance decides between these, as they cost the same:"
    silent = any(cost.is_silent for cost in policy.compared)
    usual = ", where one that never answers costs as much as is usual" if silent else ""
    return f"Of these, {first.agent_id} costs less{usual}:"


def _costs(costs: Iterable[Cost]) -> Table:
    columns = ("agent", "cost", "outstanding", "answers in", "oldest waits for")
    table = _table("", columns)
    for cost in costs:
        times = (cost.answer_seconds, cost.waiting_seconds)
        table.add_row(
            _cell(cost.agent_id),
            Text(f"{cost.cost:.3g}"),
            Text(f"{cost.outstanding:,}"),
            *(Text("-" if time is None else seconds_text(time)) for time in times),
        )
    return table


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(
        title=f"\n{title}" if title else None,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        padding=(0, 2, 0, 0),
    )
    first, *others = columns
    table.add_column(first, overflow="fold")
    for column in others:
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    return table


def _cell(text: str) -> Text:
    return Text(one_line(text))
