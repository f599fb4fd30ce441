import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.telemetry.histogram import Histogram

BOUNDS = (0.1, 1.0, 10.0)


def test_a_bound_belongs_to_its_bucket_and_what_is_larger_has_one_of_its_own() -> None:
    histogram = Histogram(BOUNDS)
    for value in (0.0, 0.1, 0.10001, 10.0, 11.0):
        histogram.observe(value)
    histogram.observe(1.0, count=5)
    assert histogram.counts == [2, 6, 1, 1]


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 1000))))
def test_nothing_is_counted_twice_or_forgotten(observed: list[tuple[float, int]]) -> None:
    histogram = Histogram(BOUNDS)
    for value, count in observed:
        histogram.observe(value, count)
    assert sum(histogram.counts) == sum(count for _, count in observed)
    assert histogram.total == pytest.approx(sum(value * count for value, count in observed))
