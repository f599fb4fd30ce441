from hypothesis import given
from hypothesis import strategies as st

from broker.sandbox.accounting import Ledger
from broker.sandbox.feed import NotRouted, Routed
from broker.sandbox.summary import problems


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def ledger_with(*message_ids: str, malformed: bool = False) -> Ledger:
    ledger = Ledger(Clock())
    for message_id in message_ids:
        ledger.record_sent(message_id, "alice", malformed=malformed)
    return ledger


def test_nothing_sent_is_nothing_missing() -> None:
    ledger = Ledger()

    assert not [*problems(ledger)]
    assert ledger.missing() == []
    assert (ledger.rate(), ledger.duration(), ledger.share("alice")) == (0.0, 0.0, 0.0)


def test_a_message_is_under_way_until_it_is_delivered() -> None:
    ledger = ledger_with("m1", "m2")

    ledger.record_routed("m1", "bob")
    assert ledger.missing() == ["m1", "m2"]
    assert ledger.open == 2

    assert ledger.record_delivered("m1", "bob")
    assert ledger.missing() == ["m2"]
    assert (ledger.open, ledger.delivered, ledger.accounted_for) == (1, 1, 1)
    assert [*problems(ledger)]
    assert list(ledger.feed.entries) == [Routed("alice", "bob", "TEXT", "")]


def test_the_dead_letter_queue_accounts_for_a_malformed_message() -> None:
    ledger = ledger_with("x1", malformed=True)
    ledger.record_dead_lettered("x1")
    assert not [*problems(ledger)]
    assert (ledger.malformed, ledger.dead_lettered, ledger.accounted_for) == (1, 1, 1)


def test_what_must_not_happen() -> None:
    ledger = ledger_with("m1", "m2", "m3")
    ledger.record_sent("x1", "alice", malformed=True)
    ledger.record_dead_lettered("m1")
    ledger.record_routed("m2", "alice")
    ledger.record_delivered("m2", "alice")
    ledger.record_routed("m3", "bob")
    ledger.record_delivered("m3", "carol")
    ledger.record_routed("x1", "bob")
    assert ledger.unexpected == [
        "m1 was dead-lettered, but is well-formed",
        "m2 was routed back to its sender",
        "carol received m3, which is not for it",
        "x1 is malformed, but was routed",
    ]
    assert [*problems(ledger)]


def test_messages_that_nobody_sent() -> None:
    ledger = Ledger()

    ledger.record_routed("a", "bob")
    ledger.record_failed("b")
    ledger.record_dead_lettered("c")
    assert not ledger.record_delivered("d", "bob")

    assert ledger.unexpected_count == 4
    assert [*problems(ledger)]
    assert ledger.sent == ledger.accounted_for == ledger.received_by.total() == 0


def test_a_repeated_decision_is_a_duplicate_and_each_of_its_deliveries_is_explained() -> None:
    ledger = ledger_with("m1")
    ledger.record_routed("m1", "bob")
    ledger.record_routed("m1", "carol")
    ledger.record_failed("m1")
    assert ledger.record_delivered("m1", "bob")
    assert not ledger.record_delivered("m1", "carol")
    assert not [*problems(ledger)]
    # What first accounted for it counts: the failure came before the deliveries.
    assert (ledger.delivered, ledger.failed, ledger.accounted_for) == (0, 1, 1)
    assert ledger.duplicates == 2


def test_what_lies_ahead_of_an_agent() -> None:
    ledger = ledger_with("m1", "m2", "m3")
    for message_id in ("m1", "m2"):
        ledger.record_routed(message_id, "bob")
    ledger.record_failed("m3")
    assert (ledger.ahead_of["bob"], ledger.ahead_of["carol"]) == (2, 0)

    ledger.record_delivered("m1", "bob")
    ledger.record_delivered("m1", "bob")  # a duplicate
    ledger.record_delivered("m2", "carol")  # not for her
    assert (ledger.ahead_of["bob"], ledger.ahead_of["carol"]) == (1, 0)


def test_messages_from_outside_are_entered_once() -> None:
    ledger = Ledger()
    for _ in range(2):
        ledger.record_guest("g1", "zoë", "TEXT", "hello")
    ledger.record_routed("g1", "bob")
    ledger.record_guest("g2", "unknown", "TEXT", "")
    ledger.record_dead_lettered("g2", "invalid_json", is_guest=True)
    assert (ledger.sent, ledger.guests, ledger.open) == (2, 2, 1)
    assert ledger.unexpected == []
    assert list(ledger.feed.entries) == [
        Routed("zoë", "bob", "TEXT", "hello"),
        NotRouted("unknown", "invalid_json", "", is_dead_letter=True),
    ]


def test_somebody_waits_until_messages_are_accounted_for() -> None:
    ledger, done = ledger_with("m1", "m2", "m3"), list[str]()
    ledger.when_accounted_for([], lambda: done.append("none"))
    ledger.when_accounted_for(["m1", "m2"], lambda: done.append("both"))
    ledger.record_failed("m3")
    ledger.record_failed("m1", "no_agent_online")
    assert done == []
    ledger.record_routed("m2", "bob")
    ledger.record_delivered("m2", "bob")
    ledger.record_delivered("m2", "bob")
    assert done == ["both"]


def test_a_repeated_delivery_is_a_duplicate() -> None:
    ledger = ledger_with("m1")
    ledger.record_routed("m1", "bob")
    ledger.record_delivered("m1", "bob")
    assert not ledger.record_delivered("m1", "bob")
    assert not [*problems(ledger)]
    assert ledger.duplicates == 1


def test_a_repeated_dead_letter_is_a_duplicate() -> None:
    ledger = ledger_with("x1", malformed=True)
    ledger.record_dead_lettered("x1")
    ledger.record_dead_lettered("x1")
    assert (ledger.dead_lettered, ledger.duplicates, ledger.accounted_for) == (1, 1, 1)


def test_unexpected_things_are_all_counted_and_the_first_are_kept() -> None:
    ledger = Ledger()

    for number in range(100):
        ledger.record_unexpected(str(number))

    assert ledger.unexpected_count == 100
    assert ledger.unexpected == [str(number) for number in range(20)]


def test_share_and_rate() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    for number in range(4):
        ledger.record_sent(f"m{number}", "alice")
        ledger.record_routed(f"m{number}", "bob" if number else "carol")
    clock.now += 2
    for number in range(4):
        ledger.record_delivered(f"m{number}", "bob" if number else "carol")
    clock.now += 10

    assert ledger.share("bob") == 0.75
    assert ledger.duration() == 2
    assert ledger.rate() == 2
    assert ledger.sent_by == {"alice": 4}
    assert ledger.received_by == {"bob": 3, "carol": 1}


NUMBERS = st.integers(0, 9)


@given(
    routed=st.lists(NUMBERS), failed=st.lists(NUMBERS), delivered=st.sets(NUMBERS), data=st.data()
)
def test_every_message_is_either_missing_or_accounted_for(
    routed: list[int], failed: list[int], delivered: set[int], data: st.DataObject
) -> None:
    ledger = ledger_with(*map(str, range(10)))
    decisions = data.draw(
        st.permutations([(n, True) for n in routed] + [(n, False) for n in failed])
    )
    for number, is_routed in decisions:
        if is_routed:
            ledger.record_routed(str(number), "bob")
        else:
            ledger.record_failed(str(number))
    delivered &= set(routed)
    for number in delivered:
        ledger.record_delivered(str(number), "bob")

    missing = set(range(10)) - set(failed) - delivered
    assert ledger.missing() == [str(number) for number in sorted(missing)]
    assert ledger.open == len(missing)
    assert bool([*problems(ledger)]) == bool(missing)
    decided = set(routed) | set(failed)
    assert ledger.sent == ledger.delivered + ledger.failed + ledger.dead_lettered + ledger.open
    assert (ledger.failed, ledger.delivered) == (len(set(failed)), len(delivered - set(failed)))
    assert ledger.duplicates == len(decisions) - len(decided)
    assert ledger.ahead_of["bob"] == len(routed) - len(delivered)
