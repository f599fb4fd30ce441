"""What was measured, as it is kept in results.json."""

from typing import Literal

import msgspec

type QueueType = Literal["classic", "quorum"]


class Layout(msgspec.Struct, frozen=True):
    """One way to arrange brokers and queues.

    Attributes:
        shards: Input queues; there are as many output queues.
        prefetch: Of each broker, for each input queue.
    """

    nodes: int
    queue_type: QueueType
    brokers: int
    shards: int = 1
    prefetch: int = 1_000


def title(layout: Layout) -> str:
    parts = (
        f"{layout.nodes} node{'s' * (layout.nodes > 1)}",
        layout.queue_type,
        f"{layout.brokers} broker{'s' * (layout.brokers > 1)}",
        f"{layout.shards} shard{'s' * (layout.shards > 1)}",
        f"prefetch {layout.prefetch:,}",
    )
    return ", ".join(parts)


class ScaleRun(msgspec.Struct):
    """One layout, once through preloaded queues.

    Attributes:
        seconds: From the first delivery to the last message in the output queues.
        work: What the Erlang processes of each node did, in reductions, by what they are for;
            only of the layouts whose costs are divided by part.
        problems: What was wrong with what came out. A run with problems does not count.
    """

    layout: Layout
    messages: int
    seconds: float = 0.0
    broker_cpu: float = 0.0
    node_cpu: list[float] = []
    work: list[dict[str, int]] = []
    problems: list[str] = []

    @property
    def rate(self) -> float:
        return self.messages / self.seconds

    @property
    def broker_microseconds(self) -> float:
        return self.broker_cpu / self.messages * 1e6

    @property
    def node_microseconds(self) -> float:
        return sum(self.node_cpu) / self.messages * 1e6


class Registry(msgspec.Struct):
    """What a broker's registry costs.

    Attributes:
        frame_bytes: What an agent takes in a status update.
    """

    agents: int
    bytes_per_agent: float
    frame_bytes: float
    delta_bytes: int
    delta_microseconds: float


class Traffic(msgspec.Struct):
    """Bytes per message on the network.

    Attributes:
        brokers: Between brokers and nodes, both ways.
        nodes: Between the nodes of the cluster.
    """

    layout: Layout
    brokers: float
    nodes: float


class ScaleResults(msgspec.Struct):
    machine: dict[str, str]
    cores: int
    runs: list[ScaleRun] = []
    traffic: list[Traffic] = []
    registry: Registry | None = None


def sound_runs(results: ScaleResults) -> dict[Layout, list[ScaleRun]]:
    by_layout: dict[Layout, list[ScaleRun]] = {}
    for run in results.runs:
        if not run.problems:
            by_layout.setdefault(run.layout, []).append(run)
    return by_layout
