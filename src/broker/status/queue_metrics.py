"""The metrics of the queues."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from broker.status.metric_families import unless_unknown
from broker.status.model import QueueStatus

_LABELS = ("queue", "role")


def queue_metrics(queues: Sequence[QueueStatus]) -> Iterable[Metric]:
    """Yield the metrics of the queues; their names are the operator's."""
    messages = GaugeMetricFamily(
        "broker_queue_messages",
        "Messages that wait to be delivered; NaN while that is not known.",
        labels=_LABELS,
    )
    consumers = GaugeMetricFamily(
        "broker_queue_consumers",
        "Consumers, those of other programs included; NaN while that is not known.",
        labels=_LABELS,
    )
    for queue in queues:
        labels = (queue.name, queue.role)
        messages.add_metric(labels, unless_unknown(queue.messages))
        consumers.add_metric(labels, unless_unknown(queue.consumers))
    yield messages
    yield consumers
