import io
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from broker.sandbox.accounting import Ledger
from broker.sandbox.agents import Agent, agent_names
from broker.sandbox.desk import Desk
from broker.sandbox.outbox import Outbox
from broker.sandbox.picture import Rates, State, draw
from broker.sandbox.summary import balance
from broker.sandbox.traffic import Traffic

STATE = State(
    pid=4711,
    is_connected=True,
    uptime=83.9,
    page="http://127.0.0.1:45678/",
    invitation='AMQP_URL=amqp://127.0.0.1:45679 .venv/bin/broker send "hello"',
)


def some_agents(number: int, ledger: Ledger, *, slow: int = 0) -> list[Agent]:
    traffic = Traffic(ledger, Random(1), messages=None, malformed=0)
    desks = [None] * (number - slow) + [Desk(lambda: 2.0)] * slow
    names = agent_names(number)
    return [
        Agent(name, ledger, traffic, Outbox(), lambda: None, desk)
        for name, desk in zip(names, desks, strict=True)
    ]


def picture(
    number: int = 3,
    *,
    width: int = 80,
    height: int = 24,
    ledger: Ledger | None = None,
    state: State = STATE,
    slow: int = 0,
    has_keys: bool = True,
) -> list[str]:
    ledger = ledger or Ledger()
    agents = some_agents(number, ledger, slow=slow)
    agents[0].online.open()
    console = Console(file=io.StringIO(), width=width, height=height)
    rates = Rates(12.34, [1.0, 2.0] * 30)
    drawn = draw(agents, ledger, state, rates, width=width, height=height, has_keys=has_keys)
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().splitlines()


@cache
def busy_ledger() -> Ledger:
    """Sums of six digits, and entries of all kinds."""
    ledger = Ledger()
    for number in range(100_000):
        ledger.record_sent(str(number), "alice", "SYSTEM", "Can you summarise this page for me?")
    for number in range(0, 100_000, 3):
        ledger.record_routed(str(number), "bob")
        ledger.record_delivered(str(number), "bob")
        ledger.record_failed(str(number + 1), "only_sender_online")
    ledger.record_guest(
        "g", "\N{RIGHT-TO-LEFT OVERRIDE}evil\x1b[2J", "TEXT", "\N{COLLISION SYMBOL}" * 99
    )
    ledger.record_routed("g", "zo\N{COMBINING DIAERESIS}e" * 20)
    ledger.feed.tell("broker killed, 100000 messages in flight", is_trouble=True)
    ledger.record_unexpected("two moons " * 20)
    return ledger


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 10), (20, 5)])
@pytest.mark.parametrize("number", [2, 30])
@pytest.mark.parametrize("slow", [0, 2])
def test_a_picture_fits_the_terminal(width: int, height: int, number: int, slow: int) -> None:
    lines = picture(number, width=width, height=height, slow=slow)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 12)])
def test_a_busy_picture_fits_the_terminal(width: int, height: int) -> None:
    ledger = busy_ledger()
    lines = picture(30, width=width, height=height, ledger=ledger, state=replace(STATE, kills=99))
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    assert STATE.page in text
    # The sum is whole, over as many lines as it needs.
    bare = " ".join(line.strip("│ ") for line in lines)
    assert balance(ledger) in bare
    assert "\x1b" not in text
    assert text.isascii() or "\N{RIGHT-TO-LEFT OVERRIDE}" not in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_what_is_never_cut_off(width: int, height: int) -> None:
    worst = replace(
        STATE, pid=4_000_000, uptime=5999, kills=99, is_rabbitmq_up=False, is_serving=False
    )
    lines = picture(width=width, height=height, state=replace(worst, is_connected=False))
    assert lines[0].strip() == f"status page  {STATE.page}"
    assert lines[1].split() == [
        *("●", "RabbitMQ", "down", "●", "server", "paused", "●", "broker", "waits"),
        *("pid", "4000000", "up", "99:59", "kills", "99"),
    ]
    assert lines[2].strip() == f"try  {STATE.invitation}"
    assert lines[-1].strip().endswith("q quit")


def test_the_page_is_not_cut_off_on_a_narrow_terminal() -> None:
    assert picture(width=30, height=10)[0].strip() == STATE.page


def test_what_is_to_be_seen() -> None:
    ledger = Ledger()
    ledger.record_sent("m1", "alice", "TEXT", "Is anybody there?")
    ledger.record_routed("m1", "bob")
    ledger.record_delivered("m1", "bob")
    ledger.record_sent("m2", "carol", "REPLY", "Straight on.")
    ledger.record_failed("m2", "no_agent_online")
    ledger.record_sent("m3", "carol", malformed=True)
    ledger.record_dead_lettered("m3", "invalid_json")
    ledger.record_sent("m4", "carol")
    ledger.feed.tell("broker killed")

    lines = picture(ledger=ledger)

    text = "\n".join(lines)
    assert "● RabbitMQ  ● server  ● broker  pid 4711 up 1:23" in text
    assert "1 of 3 online" in text
    happened = [line.split("││")[1].strip("│ ") for line in lines[4:8]]
    assert happened == [
        "━━ broker killed",
        "DEAD  Carol ✗ invalid_json",
        "ERROR Carol ✗ no_agent_online  “Straight on.”",
        "TEXT  Alice → Bob  “Is anybody there?”",
    ]
    [alice] = [line.split("││")[0] for line in lines if "● Alice " in line]
    assert alice.split() == ["│●", "Alice", "1", "0"]
    [bob] = [line.split("││")[0] for line in lines if "○ Bob " in line]
    assert bob.split() == ["│○", "Bob", "0", "1", "██████"]
    sums, rate = lines[-4:-2]
    assert sums.strip("│ ") == (
        "published 4 = delivered 1 + failed 1 + dead-lettered 1 + in flight 1"
    )
    assert rate.split()[0] == "│12.3/s"
    assert set(rate.split()[1]) == {"▅", "█"}


def test_an_event_stays_for_a_while_when_messages_push_it_out() -> None:
    now = 0.0
    ledger = Ledger(lambda: now)
    ledger.feed.tell("server goes on")
    for number in range(50):
        ledger.record_sent(str(number), "alice")
        ledger.record_routed(str(number), "bob")
    [shown] = [line for line in picture(ledger=ledger) if "server goes on" in line]
    assert "╯╰" in shown
    now = 11.0
    assert not any("server goes on" in line for line in picture(ledger=ledger))


def test_the_latest_is_on_top_and_old_ones_go() -> None:
    ledger = Ledger()
    for number in range(50):
        ledger.record_sent(str(number), f"sender{number}")
        ledger.record_routed(str(number), "bob")

    lines = picture(ledger=ledger)

    shown = [line.split("││")[1].split()[1] for line in lines if "→" in line]
    assert shown == [f"sender{number}" for number in range(49, 49 - len(shown), -1)]
    assert 10 < len(shown) < 20


def test_more_agents_than_lines() -> None:
    assert "and 18 more" in "\n".join(picture(30))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"is_connected": False}, "broker waits"),
        ({"pid": None}, "broker ended"),
        ({"pid": None, "is_restarting": True}, "broker restarting"),
        ({"is_serving": False}, "server paused"),
        ({"is_rabbitmq_up": False}, "RabbitMQ down"),
        ({"kills": 2}, "kills 2"),
    ],
)
def test_the_state_of_the_parts(changed: dict[str, Any], says: str) -> None:
    assert says in picture(state=replace(STATE, **changed))[1]
    assert says not in picture()[1]


def test_without_keys_it_says_how_to_end_it() -> None:
    assert "Ctrl-C ends it" in picture(has_keys=False)[-1]


def test_the_unexpected_is_shown() -> None:
    ledger = Ledger()
    ledger.record_unexpected("two [bold]moons")
    assert "unexpected: two [bold]moons" in "\n".join(picture(ledger=ledger))


@pytest.mark.parametrize(("policy", "slow"), [("least_outstanding", 0), ("random", 3)])
def test_what_lies_ahead_of_agents(policy: str, slow: int) -> None:
    ledger = Ledger()
    for number in range(3):
        ledger.record_sent(f"m{number}", "alice")
        ledger.record_routed(f"m{number}", "carol")
    ledger.record_delivered("m0", "carol")

    lines = picture(ledger=ledger, state=replace(STATE, policy=policy), slow=slow)

    assert any(policy in line for line in lines) == (policy != "random")
    assert "ahead" in lines[4].split()
    [alice] = [line.split() for line in lines if "Alice " in line.split("││")[0]]
    assert alice[:5] == ["│◐" if slow else "│●", "Alice", "3", "0", "0"]
    [carol] = [line.split() for line in lines if "Carol " in line.split("││")[0]]
    assert carol[:5] == ["│○", "Carol", "0", "1", "2"]


def test_for_how_long_messages_are_held() -> None:
    state = replace(STATE, hold=30, policy="least_outstanding")
    assert any(" least_outstanding hold 30s " in line for line in picture(state=state))
    assert not any("hold" in line for line in picture())


@pytest.mark.parametrize("policy", ["random", "consistent_hash"])
def test_else_nothing_lies_ahead_of_anybody(policy: str) -> None:
    assert "ahead" not in "\n".join(picture(state=replace(STATE, policy=policy)))
