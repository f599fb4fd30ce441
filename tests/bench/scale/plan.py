"""Which layouts are measured, and how often."""

from dataclasses import dataclass

from tests.bench.scale.results import Layout, QueueType

QUEUE_TYPES: tuple[QueueType, ...] = ("classic", "quorum")
CLUSTER = 3
"""Nodes of the cluster that is measured."""
SMALL_WINDOW = 20
"""A prefetch so small that a message's round trip is all that limits."""


@dataclass(frozen=True)
class ScalePlan:
    layouts: tuple[Layout, ...]
    rounds: int
    messages: int
    messages_in_small_windows: int

    def messages_of(self, layout: Layout) -> int:
        small = layout.prefetch == SMALL_WINDOW
        return self.messages_in_small_windows if small else self.messages


def base(nodes: int, queue_type: QueueType) -> Layout:
    """Return the layout whose costs are divided by part: a broker for each node, one queue."""
    return Layout(nodes, queue_type, brokers=nodes)


def _layouts(brokers: tuple[int, ...], shards: tuple[int, ...]) -> tuple[Layout, ...]:
    return tuple(
        dict.fromkeys(
            layout
            for nodes in (1, CLUSTER)
            for queue_type in QUEUE_TYPES
            for layout in (
                Layout(nodes, queue_type, brokers=1, prefetch=SMALL_WINDOW),
                base(nodes, queue_type),
                *(Layout(nodes, queue_type, count) for count in brokers),
                *(Layout(nodes, queue_type, max(brokers), count) for count in shards),
            )
        )
    )


SCALE = ScalePlan(
    layouts=_layouts(brokers=(1, 2, 3, 4), shards=(2, 4)),
    rounds=3,
    messages=12_000,
    messages_in_small_windows=3_000,
)
SCALE_QUICK = ScalePlan(
    layouts=_layouts(brokers=(1, 3), shards=(2,)),
    rounds=1,
    messages=5_000,
    messages_in_small_windows=1_500,
)
