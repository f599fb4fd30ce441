from broker.telemetry.connectivity import Connectivity


def test_a_connection_comes_goes_and_comes_back() -> None:
    link = Connectivity("amqp://one")
    first = link.status()
    assert (first.state, first.peer, first.reconnects, first.error) == (
        "connecting",
        "amqp://one",
        0,
        None,
    )
    link.lost("refused")
    again = link.status()
    assert (again.state, again.reconnects, again.error) == ("connecting", 1, "refused")
    assert again.since == first.since, "it has not been connected meanwhile"

    link.connecting("amqp://two")
    link.connected()
    up = link.status()
    assert (up.state, up.peer, up.reconnects) == ("connected", "amqp://two", 1)
    assert up.error == "refused", "why it was lost the last time"
    assert up.since > first.since
    link.connected()
    assert link.status().since == up.since, "it was connected all the time"

    link.lost("reset")
    assert link.status().state == "connecting"
    assert link.status().since > up.since


def test_blocked_is_only_what_is_connected() -> None:
    link = Connectivity("amqp://one")
    assert link.status(is_blocked=True).state == "connecting"
    link.connected()
    assert link.status(is_blocked=True).state == "blocked"


def test_what_was_lost_is_counted_apart_from_tries_in_vain() -> None:
    link = Connectivity("amqp://one")
    assert link.status().error_at is None
    link.lost("refused")
    link.lost("refused")
    link.connected()
    before = link.status()
    assert (before.lost, before.failed_tries, before.reconnects) == (0, 2, 2)
    assert before.error_at is not None
    assert before.error_at <= before.since, "it is past"
    link.lost("reset")
    link.lost("refused")
    after = link.status()
    assert (after.lost, after.failed_tries, after.reconnects) == (1, 3, 4)
    assert after.error_at is not None
    assert after.error_at > before.error_at
