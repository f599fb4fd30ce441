from broker.sandbox.rates import RateMeter, sparkline


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_meter() -> None:
    clock = Clock()
    meter = RateMeter(clock)
    assert meter.rate(10) == 0
    clock.now += 2
    assert meter.rate(30) == 10
    clock.now += 98
    assert meter.rate(30) == 0


def test_its_history_has_a_value_per_second_of_the_last_minute() -> None:
    clock = Clock()
    meter = RateMeter(clock)
    for number in range(700):
        clock.now += 0.1
        meter.rate(2 * number)
    assert len(meter.history) == 60
    assert all(18 < rate < 22 for rate in meter.history)


def test_sparkline() -> None:
    assert sparkline([], 10) == sparkline([1.0], 0) == ""
    assert sparkline([0.0, 0.0], 10) == "▁▁"
    assert sparkline([9.0, 0.0, 7.0, 14.0, 2.0], 4) == "▁▅█▂"
