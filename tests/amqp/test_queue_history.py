"""What looks at a queue tell of it."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from broker.amqp.queue_history import QueueCounts, QueueHistory

INTERVAL = 3.0


def after(messages: Iterable[int], consumers: int = 1, interval: float = INTERVAL) -> QueueCounts:
    """Return what is known after looks at regular intervals."""
    history, counts = QueueHistory(), QueueCounts(0, 0)
    for number, count in enumerate(messages):
        counts = history.add(1_000 + number * interval, count, consumers)
    return counts


def test_the_first_look_tells_the_numbers_alone() -> None:
    assert after([7], consumers=2) == QueueCounts(7, 2)


def test_growth_is_an_average_and_takes_some_looks() -> None:
    assert after([0, 30, 60, 90]).growth is None
    assert after([0, 30, 60, 90, 120]).growth == 10
    assert after(range(1_000, 0, -30)).growth == -10


def test_growth_is_that_of_the_last_minute() -> None:
    assert after([*[0] * 20, *[6_000] * 40]).growth == 0
    assert after([*range(0, 300, 3), *[300] * 11]).growth == 0.5


class TestUnread:
    def test_messages_without_a_consumer_that_stay(self) -> None:
        assert after([5] * 5, consumers=0).is_unread
        assert after([5, 5, 6, 9, 9, 400], consumers=0).is_unread

    def test_not_before_ten_seconds(self) -> None:
        assert not after([5] * 4, consumers=0).is_unread
        assert not after([0, 0, 0, 0, 0, 5, 5, 5, 5], consumers=0).is_unread
        assert after([0, 0, 0, 0, 0, 5, 5, 5, 5, 5], consumers=0).is_unread

    def test_not_with_a_consumer(self) -> None:
        assert not after([5] * 30).is_unread

    def test_not_if_somebody_fetches_them_one_by_one(self) -> None:
        assert not after([9, 10, 11, 8, 9, 10], consumers=0).is_unread

    def test_not_if_it_is_empty(self) -> None:
        assert not after([0] * 30, consumers=0).is_unread

    @given(st.lists(st.integers(0, 50), max_size=40))
    def test_never_while_it_gets_shorter(self, counts: list[int]) -> None:
        assert not after([*counts, 60, 59], consumers=0).is_unread


class TestGrowing:
    def test_more_comes_than_goes(self) -> None:
        assert after(range(10, 2_000, 60)).is_growing

    def test_not_before_a_minute(self) -> None:
        assert not after(range(10, 1_210, 60)).is_growing
        assert after(range(10, 1_220, 60)).is_growing

    def test_a_burst_is_none(self) -> None:
        burst = [0, *range(5_000, 0, -500), 0]
        for length in range(1, len(burst) + 1):
            assert not after(burst[:length], interval=6.0).is_growing

    def test_a_long_queue_that_stays_as_it_is_does_not_grow(self) -> None:
        assert not after([100_000 + (37 * number) % 2_000 for number in range(60)]).is_growing

    def test_a_queue_that_is_being_emptied_does_not_although_it_was_shorter_before(self) -> None:
        stuck = [2_500] * 30
        assert after([*stuck, 5_000]).is_growing
        assert not after([*stuck, 5_000, 4_400]).is_growing

    def test_a_queue_that_is_read_by_the_dozen_grows_all_the_same(self) -> None:
        counts = [1_000 + 60 * number + 30 * (number % 3) for number in range(40)]
        for length in range(25, 40):
            assert after(counts[:length]).is_growing

    def test_a_few_more_are_none(self) -> None:
        assert not after(range(1, 40)).is_growing
