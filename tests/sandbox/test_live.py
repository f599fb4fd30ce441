import io
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import trio
from rich.console import Console

from broker.sandbox import live
from broker.sandbox.accounting import Ledger
from broker.sandbox.agents import Agent, agent_names
from broker.sandbox.desk import Desk
from broker.sandbox.live import BrokerState, RateMeter, draw, watch, watch_progress
from broker.sandbox.traffic import Traffic
from tests.lab.autojump import autojump

CONNECTED = BrokerState(pid=4711, is_running=True, is_connected=True, uptime=83.9)


def some_agents(number: int, ledger: Ledger, *, slow: int = 0) -> list[Agent]:
    traffic = Traffic(ledger, Random(1), messages=None, malformed=0)
    desks = [None] * (number - slow) + [Desk(lambda: 2.0)] * slow
    names = agent_names(number)
    return [
        Agent(name, ledger, traffic, lambda: None, desk)
        for name, desk in zip(names, desks, strict=True)
    ]


def picture(
    number: int = 3,
    *,
    width: int = 80,
    height: int = 24,
    ledger: Ledger | None = None,
    broker: BrokerState = CONNECTED,
    slow: int = 0,
) -> list[str]:
    ledger = ledger or Ledger()
    agents = some_agents(number, ledger, slow=slow)
    agents[0].online.open()
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(draw(agents, ledger, broker, rate=12.34, height=height))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 10), (20, 5)])
@pytest.mark.parametrize("number", [2, 30])
@pytest.mark.parametrize("slow", [0, 2])
def test_a_picture_fits_the_terminal(width: int, height: int, number: int, slow: int) -> None:
    lines = picture(number, width=width, height=height, slow=slow)

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_what_is_to_be_seen() -> None:
    ledger = Ledger()
    ledger.record_sent("m1", "alice")
    ledger.record_routed("m1", "bob")
    ledger.record_delivered("m1", "bob")
    ledger.record_sent("m2", "carol")
    ledger.record_failed("m2")
    ledger.record_sent("m3", "carol")

    lines = picture(ledger=ledger)

    text = "\n".join(lines)
    assert "pid 4711  up 1:23  ● connected" in text
    assert "1 of 3 agents online" in text
    assert "Alice → Bob" in text
    [alice] = [line.split() for line in lines if "Alice " in line and "online" in line]
    assert alice[1:6] == ["Alice", "●", "online", "1", "0"]
    [carol] = [line.split() for line in lines if "Carol " in line]
    assert carol[1:6] == ["Carol", "○", "offline", "2", "0"]
    names, numbers = lines[-3:-1]
    assert names.split()[1:-1] == [
        *("sent", "under", "way", "routed", "errors"),
        *("dead", "letters", "duplicates", "per", "second"),
    ]
    assert numbers.split()[1:-1] == ["3", "1", "1", "1", "0", "0", "12.3"]


def test_the_latest_route_is_on_top_and_old_ones_go() -> None:
    ledger = Ledger()
    for number in range(50):
        ledger.record_sent(str(number), f"sender{number}")
        ledger.record_routed(str(number), "bob")

    lines = picture(ledger=ledger)

    shown = [line.split("││")[1].split()[0] for line in lines if "→" in line]
    assert shown == [f"sender{number}" for number in range(49, 49 - len(shown), -1)]
    assert 10 < len(shown) < 20


def test_more_agents_than_lines() -> None:
    assert "and 15 more" in "\n".join(picture(30))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"is_connected": False}, "not connected"),
        ({"is_running": False}, "ended"),
        ({"page": "http://here:1"}, "status page: http://here:1"),
    ],
)
def test_the_state_of_the_broker(changed: dict[str, Any], says: str) -> None:
    assert says in picture(broker=replace(CONNECTED, **changed), width=100)[0]
    assert says not in picture(width=100)[0]


def test_the_unexpected_is_shown() -> None:
    ledger = Ledger()
    ledger.record_unexpected("two moons")
    assert "unexpected: two moons" in "\n".join(picture(ledger=ledger))


@pytest.mark.parametrize(("policy", "slow"), [("least_outstanding", 0), ("random", 3)])
def test_what_lies_ahead_of_agents(policy: str, slow: int) -> None:
    ledger = Ledger()
    for number in range(3):
        ledger.record_sent(f"m{number}", "alice")
        ledger.record_routed(f"m{number}", "carol")
    ledger.record_delivered("m0", "carol")

    lines = picture(ledger=ledger, broker=replace(CONNECTED, policy=policy), slow=slow)

    assert (policy in lines[1]) == (policy != "random")
    assert "ahead" in lines[2].split()
    rows = [line.split() for line in lines]
    [alice] = [row for row in rows if "Alice" in row[:2]]
    assert alice[1:7] == ["Alice", "●", "slow" if slow else "online", "3", "0", "0"]
    [carol] = [row for row in rows if "Carol" in row[:2]]
    assert carol[1:7] == ["Carol", "○", "offline", "0", "1", "2"]


def test_for_how_long_messages_are_held() -> None:
    assert "held for 30 s" in "\n".join(picture(broker=replace(CONNECTED, hold=30)))
    assert "held" not in "\n".join(picture(broker=CONNECTED))


@pytest.mark.parametrize("policy", ["random", "consistent_hash"])
def test_else_nothing_lies_ahead_of_anybody(policy: str) -> None:
    assert "ahead" not in "\n".join(picture(broker=replace(CONNECTED, policy=policy)))


def test_rate_meter() -> None:
    now = 0.0
    meter = RateMeter(lambda: now)

    assert meter.rate(10) == 0
    now = 2.0
    assert meter.rate(30) == 10
    now = 100.0
    assert meter.rate(30) == 0


@autojump
async def test_the_terminal_is_restored() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24)
    ledger = Ledger()
    with trio.move_on_after(live.REFRESH_INTERVAL * 2.5):
        await watch(console, some_agents(2, ledger), ledger, lambda: CONNECTED)
    written = screen.getvalue()
    assert written.count("2 agents online") == 3
    assert written.index("\x1b[?1049h") < written.index("agents online")
    assert "\x1b[?1049l" in written[-20:]


@autojump
async def test_progress_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    ledger = Ledger()
    with trio.move_on_after(live.REFRESH_INTERVAL * 1.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_progress, console, ledger, 4)
            await trio.sleep(live.REFRESH_INTERVAL * 1.2)
            ledger.record_sent("m", "alice")
            ledger.record_failed("m")
    assert "0/4" in screen.getvalue()
    assert "1/4" in screen.getvalue()
