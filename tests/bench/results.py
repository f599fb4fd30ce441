"""What was measured, as it is kept in results.json."""

from statistics import median

import msgspec

PERCENTILES = ("p50", "p99", "p999", "worst")


class Run(msgspec.Struct):
    """One contender, once through a preloaded queue.

    Attributes:
        prefetch: Of the broker and its AMQP half.
        seconds: From the first delivery to the last message in the output queue.
        cpu_seconds: Of its processes in that time.
        problems: What was wrong with what came out. A run with problems does not count.
    """

    contender: str
    messages: int
    size: int
    prefetch: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    problems: list[str] = []

    @property
    def rate(self) -> float:
        return self.messages / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        return self.cpu_seconds / self.messages * 1e6


class Latency(msgspec.Struct):
    """How long messages took at one rate, in milliseconds."""

    contender: str
    load: str
    rate: float
    messages: int
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    worst: float = 0.0
    problems: list[str] = []


class Growth(msgspec.Struct):
    """What operations of the registry cost with so many agents.

    Attributes:
        longest_slice_milliseconds: The longest time without a pause while that is applied.
        decode_milliseconds: Decoding its frame, without a pause.
        capable_bytes_per_agent: With three capabilities, which all agents share.
    """

    agents: int
    route_microseconds: float
    delta_microseconds: float
    full_update_milliseconds: float
    longest_slice_milliseconds: float
    decode_milliseconds: float
    bytes_per_agent: float
    capable_bytes_per_agent: float


class HoldUp(msgspec.Struct):
    """How long others wait while a full status update is applied, in milliseconds.

    Attributes:
        quiet: The slowest message without it, at a low rate.
        pong_behind: From the PING right behind it to the answer; the transfer is included.
        pong_behind_ignored: The same behind as many bytes that mean nothing to the broker.
        pong_after: The slowest answer to those PINGs that come while it is decoded and applied.
    """

    agents: int
    quiet: float
    message: float
    pong_behind: float
    pong_behind_ignored: float
    pong_after: float
    problems: list[str] = []


class Blocked(msgspec.Struct):
    """What the broker did while RabbitMQ took nothing.

    Attributes:
        routed: How many were routed when it took messages again.
        resumed_after: Seconds from then to the next routed message.
    """

    messages: int
    seconds: float
    before_bytes: int = 0
    peak_bytes: int = 0
    routed: int = 0
    resumed_after: float = 0.0
    problems: list[str] = []


class Results(msgspec.Struct):
    """Everything that one call of the benchmark measured.

    Attributes:
        missing: Why contenders were not measured, by their names.
        latency: By load; several of each, see `typical`.
    """

    plan: str
    machine: dict[str, str]
    missing: dict[str, str] = {}
    throughput: list[Run] = []
    window: list[Run] = []
    sizes: list[Run] = []
    latency: list[Latency] = []
    growth: list[Growth] = []
    hold_up: list[HoldUp] = []
    blocked: list[Blocked] = []


def checked(results: Results) -> list[Run | Latency | HoldUp | Blocked]:
    return [
        *results.throughput,
        *results.window,
        *results.sizes,
        *results.latency,
        *results.hold_up,
        *results.blocked,
    ]


def sound(runs: list[Run], **wanted: object) -> list[Run]:
    return [
        run
        for run in runs
        if not run.problems and all(getattr(run, name) == value for name, value in wanted.items())
    ]


def median_rate(runs: list[Run], **wanted: object) -> float | None:
    rates = [run.rate for run in sound(runs, **wanted)]
    return median(rates) if rates else None


def typical(points: list[Latency]) -> list[Latency]:
    """Return one point for each contender and load: the medians of the sound ones."""
    groups: dict[tuple[str, str], list[Latency]] = {}
    for point in points:
        if not point.problems:
            groups.setdefault((point.contender, point.load), []).append(point)
    return [
        msgspec.structs.replace(
            same[0],
            messages=sum(point.messages for point in same),
            **{name: median(getattr(point, name) for point in same) for name in PERCENTILES},
        )
        for same in groups.values()
    ]
