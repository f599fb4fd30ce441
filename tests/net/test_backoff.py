from hypothesis import given
from hypothesis import strategies as st

from broker.net.backoff import Backoff

SECONDS = st.floats(0.01, 100)
DRAW = st.floats(0, 1, exclude_max=True)


@given(initial=SECONDS, factor=st.floats(1, 1000), draws=st.lists(DRAW, min_size=12, max_size=12))
def test_each_pause_is_drawn_below_a_bound_that_doubles(
    initial: float, factor: float, draws: list[float]
) -> None:
    maximum = initial * factor
    backoff = Backoff(initial=initial, maximum=maximum, random=iter(draws).__next__)
    bound = initial
    for draw in draws:
        pause = backoff.next()
        assert 0 <= pause <= maximum
        assert pause == draw * bound
        bound = min(2 * bound, maximum)


def test_the_default_reaches_ten_seconds() -> None:
    backoff = Backoff(random=lambda: 1.0)
    assert [backoff.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 10, 10, 10]


@given(st.lists(st.floats(0, 30), min_size=1, max_size=10))
def test_what_did_not_last_does_not_reset(lifetimes: list[float]) -> None:
    backoff = Backoff(initial=1, maximum=30, random=lambda: 1.0)
    bounds = [1.0, 2, 4, 8, 16, *[30.0] * 5]
    assert [backoff.after(lifetime) for lifetime in lifetimes] == bounds[: len(lifetimes)]


@given(st.integers(0, 10), st.floats(30, 1e9, exclude_min=True))
def test_what_lasted_resets(failures: int, lifetime: float) -> None:
    backoff = Backoff(initial=1, maximum=30, random=lambda: 1.0)
    for _ in range(failures):
        backoff.next()
    assert backoff.after(lifetime) == 1
    assert backoff.after(0) == 2


def test_the_longest_pause_has_no_jitter_and_stays_the_bound() -> None:
    backoff = Backoff(initial=1, maximum=30, random=lambda: 0.5)
    assert backoff.longest() == 30
    assert backoff.next() == 15
    assert backoff.after(31) == 0.5
