from broker.core.last_messages import LastMessages


def test_messages_that_arrive_together_share_a_time() -> None:
    last_messages = LastMessages(lambda: 3, "abc".__contains__)
    last_messages.begin_batch(1.0)
    last_messages.note("a")
    last_messages.note("b")
    last_messages.begin_batch(2.5)
    last_messages.note("b")
    assert [last_messages.at(one) for one in "abc"] == [1.0, 2.5, None]


def test_whom_the_registry_forgets_takes_no_memory_for_ever() -> None:
    known = {str(number) for number in range(100)}
    last_messages = LastMessages(lambda: len(known), lambda one: one in known)
    for number in range(100_000):
        known.discard(str(number - 100))
        known.add(str(number))
        last_messages.begin_batch(float(number))
        last_messages.note(str(number))
    remembered = [number for number in range(100_000) if last_messages.at(str(number)) is not None]
    assert remembered[-100:] == list(range(99_900, 100_000)), "whoever is known is remembered"
    assert len(remembered) <= 1_300
