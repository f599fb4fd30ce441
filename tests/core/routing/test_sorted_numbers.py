"""The sorted set of numbers against a plain one."""

from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.core.routing import sorted_numbers
from broker.core.routing.sorted_numbers import SortedNumbers

NUMBERS = st.integers(0, 30) | st.sampled_from([2**63, 2**64 - 2, 2**64 - 1])


class SortedNumbersMachine(RuleBasedStateMachine):
    """Numbers come and go, in chunks of a few."""

    def __init__(self) -> None:
        super().__init__()
        self.small_chunks = mock.patch.object(sorted_numbers, "_LARGEST_CHUNK", 3)
        self.small_chunks.start()
        self.numbers = SortedNumbers()
        self.model: set[int] = set()

    def teardown(self) -> None:
        self.small_chunks.stop()

    @rule(number=NUMBERS)
    def add(self, number: int) -> None:
        if number not in self.model:
            self.numbers.add(number)
            self.model.add(number)

    @precondition(lambda self: self.model)
    @rule(place=st.integers(0, 40))
    def remove(self, place: int) -> None:
        number = sorted(self.model)[place % len(self.model)]
        self.numbers.remove(number)
        self.model.remove(number)

    @rule()
    def remove_all(self) -> None:
        while self.model:
            self.numbers.remove(self.model.pop())

    @rule(number=NUMBERS)
    def read_from(self, number: int) -> None:
        expected = sorted(one for one in self.model if one >= number)
        assert list(self.numbers.since(number)) == expected

    @precondition(lambda self: self.model)
    @rule(place=NUMBERS, other=NUMBERS)
    def measure_from(self, place: int, other: int) -> None:
        expected = sorted((number - place) % 2**64 for number in self.model)
        assert list(self.numbers.distances(place)) == expected
        least = min((number - one) % 2**64 for number in self.model for one in (place, other))
        assert self.numbers.least_distance(place, other) == least

    @invariant()
    def they_are_in_order(self) -> None:
        assert list(self.numbers.since(0)) == sorted(self.model)


TestSortedNumbers = SortedNumbersMachine.TestCase
TestSortedNumbers.settings = settings(stateful_step_count=50)


@pytest.fixture
def many() -> SortedNumbers:
    numbers = SortedNumbers()
    for number in range(0, 100_000, 2):
        numbers.add(number * 2_654_435_761 % 2**32)
    return numbers


def test_many_numbers_are_in_order_and_found(many: SortedNumbers) -> None:
    numbers = sorted(number * 2_654_435_761 % 2**32 for number in range(0, 100_000, 2))
    assert list(many.since(0)) == numbers
    for place in (0, 1, 1_023, 1_024, 25_000, 49_999):
        assert next(many.since(numbers[place])) == numbers[place]
        assert next(many.since(numbers[place] - 1 if place else 0)) == numbers[place]
    assert next(many.since(numbers[-1] + 1), None) is None
