from random import Random

from broker.sandbox.accounting import Ledger
from broker.sandbox.agents import Agent
from broker.sandbox.desk import Desk
from broker.sandbox.outbox import Outbox
from broker.sandbox.summary import balance, problems, summary
from broker.sandbox.traffic import Traffic


def test_summary() -> None:
    ledger = Ledger()
    traffic = Traffic(ledger, Random(1), messages=None, malformed=0)
    agents = [Agent(name, ledger, traffic, Outbox(), lambda: None) for name in ("Alice", "Bob")]
    for number in range(4):
        ledger.record_sent(f"m{number}", "alice")
    for number in range(3):
        ledger.record_routed(f"m{number}", "bob")
        ledger.record_delivered(f"m{number}", "bob")
    ledger.record_failed("m3")
    ledger.record_sent("x", "bob", malformed=True)
    ledger.record_dead_lettered("x")

    lines = [" ".join(line.split()) for line in summary(ledger, agents)]

    assert lines[:6] == [
        "published 5 by 2 agents",
        "delivered 3",
        "failed 1 nobody was there to receive them",
        "dead-lettered 1 1 malformed on purpose",
        "in flight 0",
        "duplicates 0 at-least-once allows them after a loss",
    ]
    assert balance(ledger) == (
        "published 5 = delivered 3 + failed 1 + dead-lettered 1 + in flight 0"
    )
    assert lines[6].startswith("rate ")
    assert lines[7:] == ["Alice sent 4 received 0 ( 0.0%)", "Bob sent 1 received 3 (100.0%)"]
    assert list(problems(ledger)) == []


def test_slow_agents_are_marked() -> None:
    ledger = Ledger()
    traffic = Traffic(ledger, Random(1), messages=None, malformed=0)
    agents = [
        Agent("Alice", ledger, traffic, Outbox(), lambda: None),
        Agent("Bob", ledger, traffic, Outbox(), lambda: None, Desk(lambda: 2.0)),
    ]
    alice, bob = [line.split() for line in summary(ledger, agents)][-2:]
    assert "slow" not in alice
    assert bob[-1] == "slow"


def test_problems_name_the_first_few() -> None:
    ledger = Ledger()
    for number in range(12):
        ledger.record_sent(f"m{number}", "alice")
    ledger.record_unexpected("two moons")

    missing, unexpected = problems(ledger)

    assert missing == ("12 messages are missing: m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, ...")
    assert unexpected == "1 times the unexpected happened: two moons"
