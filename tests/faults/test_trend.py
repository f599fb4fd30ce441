"""Growth is seen, and only growth."""

import pytest

from tests.faults.trend import Sample, grown, growth

SLACK = Sample(resident_bytes=100, open_files=1, threads=1, trio_tasks=1, asyncio_tasks=1)


def samples(files: list[int]) -> list[Sample]:
    return [Sample(1_000, count, 2, 21, 16) for count in files]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([9, 1, 4, 4, 4, 4, 4, 4, 4], 0),
        ([1, 1, 1, 2, 2, 2, 5, 5, 5], 3),
        ([1, 1, 1, 2, 2, 2, 2, 90, 2], 0),
        ([5, 5, 5, 5, 5, 5, 3, 3, 3], -2),
    ],
    ids=["warm-up", "growth", "a moment", "shrinkage"],
)
def test_growth(values: list[float], expected: float) -> None:
    assert growth(values) == expected


def test_two_values_are_no_trend() -> None:
    with pytest.raises(ValueError, match="three"):
        growth([1, 2])


def test_what_grows_is_named() -> None:
    [line] = grown(samples([1, 1, 1, 2, 2, 2, 5, 5, 5]), SLACK)
    assert line == "open files grew by 3, more than 1"


def test_slack_is_no_growth() -> None:
    assert grown(samples([1, 1, 1, 2, 2, 2, 3, 3, 3]), SLACK) == []
