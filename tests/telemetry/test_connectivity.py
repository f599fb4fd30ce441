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
