"""Whether what was drawn by chance is what chance would draw."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable


def assert_even(draws: Iterable[Hashable], outcomes: int) -> None:
    """Assert that each of so many outcomes was drawn about as often as any other."""
    counts = Counter(draws)
    assert len(counts) == outcomes
    expected = counts.total() / outcomes
    assert expected > 100, "there are too few draws to tell"
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < _quantile(outcomes - 1)


def _quantile(freedom: int) -> float:
    """Return the 99.9 % quantile of the chi-square distribution, after Wilson and Hilferty."""
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + 3.0902 * spread**0.5) ** 3)


def in_turn(*numbers: float) -> Callable[[], float]:
    """Return what gives these numbers one after the other, in the place of chance."""
    return iter(numbers).__next__
