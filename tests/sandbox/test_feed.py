from broker.sandbox.feed import Event, Feed, Routed


def test_events_are_entries_too_and_are_told_once_to_each_who_asks() -> None:
    now = 100.0
    feed = Feed(lambda: now)
    feed.add(Routed("alice", "bob", "TEXT", "hello"))
    now = 101.5
    feed.tell("broker killed", is_trouble=True)
    feed.tell("broker back")
    killed, back = Event(1.5, "broker killed", True), Event(1.5, "broker back", False)
    assert list(feed.entries)[1:] == [killed, back]
    assert feed.events_since(0) == [killed, back]
    assert feed.events_since(1) == [back]
    assert feed.events_since(feed.event_count) == []


def test_the_latest_are_kept() -> None:
    feed = Feed()
    for number in range(5000):
        feed.tell(str(number))
    assert [entry for entry in feed.entries if isinstance(entry, Event)][-1].text == "4999"
    assert len(feed.entries) == 100
    assert feed.event_count == 5000
    assert len(feed.events_since(0)) == 1000
