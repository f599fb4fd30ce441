from collections.abc import Callable

import pytest

from tests.faults import crash_at


class Owner:
    def method(self, value: int) -> int:
        return value + 1


def test_a_method_that_is_not_there_any_more_is_an_error() -> None:
    with pytest.raises(AttributeError, match="moved"):
        crash_at.wrap(Owner, "moved", print)


def test_a_wrapped_method(monkeypatch: pytest.MonkeyPatch) -> None:
    def around(original: Callable[[Owner, int], int], owner: Owner, value: int) -> int:
        return 10 * original(owner, value)

    monkeypatch.setattr(Owner, "method", Owner.method)  # put back in the end
    crash_at.wrap(Owner, "method", around)
    assert Owner().method(1) == 20


def test_the_countdown_is_over_once() -> None:
    arrive = crash_at.countdown(2)
    assert [arrive() for _ in range(4)] == [False, True, False, False]


def test_an_unknown_point() -> None:
    with pytest.raises(SystemExit, match="acknowledged"):
        crash_at.main("never", 1)
