"""The clock that orders what brokers tell each other."""

from hypothesis import given
from hypothesis import strategies as st

from broker.core.versions import NEVER, Version, VersionClock


@given(st.lists(st.integers(1, 2**53), min_size=1))
def test_versions_grow_though_the_machines_clock_goes_back(times: list[int]) -> None:
    readings = iter(times)
    clock = VersionClock("a", lambda: next(readings))
    versions = [clock.next() for _ in times]
    assert versions == sorted(set(versions))
    assert versions[0] == Version(times[0], "a") > NEVER


@given(st.integers(0, 2**53), st.integers(0, 2**53))
def test_what_follows_a_change_is_later_than_it_however_the_clocks_differ(
    here: int, there: int
) -> None:
    clock = VersionClock("a", lambda: here)
    clock.observe(Version(there, "b"))
    assert clock.next() == Version(max(here, there + 1), "a")


def test_two_changes_at_one_time_are_ordered_alike_everywhere() -> None:
    a, b = (VersionClock(origin, lambda: 5).next() for origin in "ab")
    assert a < b


def test_the_age_of_a_version_goes_by_the_machines_clock() -> None:
    clock = VersionClock("a", lambda: 7_500_000)
    clock.observe(Version(100_000_000, "b"))
    assert clock.seconds_since(Version(5_000_000, "b")) == 2.5
    assert clock.seconds_since(Version(8_000_000, "b")) == -0.5
