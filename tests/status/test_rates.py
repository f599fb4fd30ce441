from broker.status.model import Rates
from broker.status.rates import RateHistory


def test_before_two_looks_there_is_no_rate() -> None:
    history = RateHistory()
    assert history.rates() == Rates(0, 0, [], [])
    history.add(100, 90)
    assert history.rates() == Rates(0, 0, [], [])


def test_rates_are_averages_of_the_last_ten_seconds_and_the_history_holds_sixty() -> None:
    history = RateHistory()
    for second in range(100):
        # A hundred a second until the last ten seconds, in which there are none.
        history.add(100 * min(second, 94), 50 * second)
    rates = history.rates()
    assert rates.received == 50
    assert rates.published == 50
    assert rates.received_history == [100] * 55 + [0] * 5
    assert rates.published_history == [50] * 60
