"""How much is measured: quick, default or full."""

from dataclasses import dataclass, replace

from tests.bench import environment

SECTIONS = ("throughput", "window", "sizes", "latency", "growth", "blocked")


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        messages: In the main comparison, by contender; slow ones get fewer, or it takes hours.
        windows: Prefetches of the sweep.
        sizes: Message sizes in bytes, and how many messages of each.
        latency_seconds: How long each rate is held at least.
        latency_messages: How many messages each rate gets at least; a percentile of a few is noise.
    """

    name: str
    sections: tuple[str, ...]
    rounds: int
    messages: dict[str, int]
    windows: tuple[int, ...]
    window_rounds: int
    sizes: dict[int, int]
    latency_rounds: int
    latency_seconds: float
    latency_messages: int
    agents: tuple[int, ...]
    hold_up_rounds: int
    blocked_seconds: float


def _messages(ours: int, libraries: int, one_by_one: int, reconnecting: int) -> dict[str, int]:
    return {
        environment.BROKER.name: ours,
        environment.ONE_LOOP.name: ours,
        environment.RABBITMQ_C.name: ours,
        environment.AIO_PIKA.name: libraries,
        environment.FASTSTREAM.name: libraries,
        environment.AMQPLIB.name: libraries,
        environment.PIKA.name: one_by_one,
        environment.RECONNECTING.name: reconnecting,
    }


QUICK = Plan(
    name="quick",
    sections=("throughput", "window", "latency", "growth"),
    rounds=1,
    messages=_messages(10_000, 4_000, 1_000, 200),
    windows=(1_000, 8_000),
    window_rounds=1,
    sizes={300: 4_000, 4_096: 2_000, 65_536: 300, 1 << 20: 40},
    latency_rounds=1,
    latency_seconds=1.5,
    latency_messages=250,
    agents=(10, 1_000, 100_000),
    hold_up_rounds=1,
    blocked_seconds=4,
)
DEFAULT = Plan(
    name="default",
    sections=SECTIONS,
    rounds=3,
    messages=_messages(20_000, 8_000, 3_000, 500),
    windows=(500, 1_000, 2_000, 4_000, 8_000),
    window_rounds=1,
    sizes={300: 10_000, 4_096: 5_000, 65_536: 1_000, 1 << 20: 100},
    latency_rounds=1,
    latency_seconds=4.0,
    latency_messages=1_000,
    agents=(10, 1_000, 100_000, 1_000_000),
    hold_up_rounds=5,
    blocked_seconds=15,
)
FULL = replace(
    DEFAULT,
    name="full",
    rounds=5,
    messages=_messages(40_000, 20_000, 5_000, 1_000),
    window_rounds=2,
    sizes={300: 20_000, 4_096: 10_000, 65_536: 2_000, 1 << 20: 200},
    latency_rounds=7,
    latency_messages=2_000,
)
