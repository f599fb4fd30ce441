import tracemalloc

from broker.status.model import Rates
from broker.status.rates import Counters, RateHistory, Series, Span


def test_before_two_looks_there_is_no_rate() -> None:
    history = RateHistory()
    assert history.rates() == Rates(0, 0, [], [])
    history.add(Counters(100, 90))
    assert history.rates() == Rates(0, 0, [], [])
    assert history.series(Span.MINUTES) == Series(1)
    assert history.series(Span.HOUR) == Series(12)


def test_rates_are_averages_of_the_last_ten_seconds_and_the_history_holds_sixty() -> None:
    history = RateHistory()
    for second in range(100):
        # A hundred a second until the last ten seconds, in which there are none.
        history.add(Counters(100 * min(second, 94), 50 * second))
    rates = history.rates()
    assert rates.received == 50
    assert rates.published == 50
    assert rates.received_history == [100] * 55 + [0] * 5
    assert rates.published_history == [50] * 60


def test_a_series_has_rates_and_the_average_time_of_the_confirms_in_each_step() -> None:
    history = RateHistory()
    for second in range(25):
        history.add(Counters(60 * second, 30 * second, 0.004 * min(second, 13), min(second, 13)))
    minutes, hour = history.series(Span.MINUTES), history.series(Span.HOUR)
    assert (minutes.step_seconds, len(minutes.received)) == (1, 24)
    assert minutes.confirm_seconds == [0.004] * 13 + [None] * 11
    assert (hour.received, hour.published) == ([60.0, 60.0], [30.0, 30.0])
    assert hour.confirm_seconds == [0.004, 0.004]
    assert minutes.until is not None
    assert hour.until is not None


def test_five_minutes_and_an_hour_are_kept_and_no_more() -> None:
    history = RateHistory()
    tracemalloc.start()
    try:
        for second in range(3_700):
            history.add(Counters(second, second, float(second), second))
        settled, _ = tracemalloc.get_traced_memory()
        for second in range(3_700, 7_400):
            history.add(Counters(second, second, float(second), second))
        later, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert later < settled + 10_000
    assert len(history.series(Span.MINUTES).received) == 300
    assert len(history.series(Span.HOUR).received) == 300
