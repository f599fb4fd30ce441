"""What a run came to, for people: some lines of text and a verdict."""

from collections.abc import Iterator, Sequence

from broker.sandbox.accounting import Ledger
from broker.sandbox.agents import Agent

_IDS_SHOWN = 10


def balance(ledger: Ledger) -> str:
    """Return the sum of all messages in one line."""
    return (
        f"published {ledger.sent} = delivered {ledger.delivered} + failed {ledger.failed}"
        f" + dead-lettered {ledger.dead_lettered} + in flight {ledger.open}"
    )


def summary(ledger: Ledger, agents: Sequence[Agent]) -> Iterator[str]:
    """Yield the lines that tell what became of all messages."""
    guests = f", {ledger.guests} from outside" if ledger.guests else ""
    yield f"published     {ledger.sent:8}  by {len(agents)} agents{guests}"
    yield f"delivered     {ledger.delivered:8}"
    yield f"failed        {ledger.failed:8}  nobody was there to receive them"
    yield f"dead-lettered {ledger.dead_lettered:8}  {ledger.malformed} malformed on purpose"
    yield f"in flight     {ledger.open:8}"
    yield f"duplicates    {ledger.duplicates:8}  at-least-once allows them after a loss"
    yield f"rate          {ledger.rate():8.0f}  messages/s for {ledger.duration():.2f} s"
    width = max(len(agent.agent_name) for agent in agents)
    for agent in agents:
        sent, received = ledger.sent_by[agent.agent_id], ledger.received_by[agent.agent_id]
        yield (
            f"  {agent.agent_name:{width}}  sent {sent:6}   received {received:6}"
            f"  ({ledger.share(agent.agent_id):6.1%}){'  slow' if agent.desk else ''}"
        )


def problems(ledger: Ledger) -> Iterator[str]:
    """Yield one line for each kind of problem in the ledger; none when it balances."""
    missing = ledger.missing()
    if missing:
        yield f"{len(missing)} messages are missing: {_some(missing, len(missing))}"
    if ledger.unexpected_count:
        yield (
            f"{ledger.unexpected_count} times the unexpected happened: "
            f"{_some(ledger.unexpected, ledger.unexpected_count)}"
        )


def _some(items: Sequence[str], total: int) -> str:
    shown = items[:_IDS_SHOWN]
    return ", ".join(shown) + (", ..." if total > len(shown) else "")
