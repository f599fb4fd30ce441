"""Prometheus' families of metrics, filled with the broker's own numbers."""

from collections.abc import Mapping
from math import nan

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from broker.telemetry.histogram import Histogram


def unless_unknown(number: float | None) -> float:
    """Return a number, or the NaN that stands for one that is not known."""
    return nan if number is None else number


def labelled(
    family: CounterMetricFamily | GaugeMetricFamily, numbers: Mapping[str, float]
) -> Metric:
    """Return a family with one label, and a number for each of its values."""
    for value, number in numbers.items():
        family.add_metric((value,), number)
    return family


def histogram(name: str, text: str, observed: Histogram) -> Metric:
    """Return a histogram as it is now."""
    # One copy, so that the buckets agree with each other while another thread counts on.
    counts, total = tuple(observed.counts), observed.total
    cumulative, buckets = 0, []
    for bound, count in zip((*observed.bounds, float("inf")), counts, strict=True):
        cumulative += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), cumulative))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)
