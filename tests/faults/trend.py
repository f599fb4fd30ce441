"""What a process held over time, and whether that grows. No I/O."""

from collections.abc import Sequence
from statistics import median

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """What a broker holds at a moment, or how much more of that is no growth yet."""

    resident_bytes: int
    open_files: int
    threads: int
    trio_tasks: int
    asyncio_tasks: int
    seconds: float = 0.0


def growth(values: Sequence[float]) -> float:
    """Return by how much the median of the last third is above that of the second third.

    The first third is the warm-up. Medians do not see the moments of a reconnect.
    """
    third = len(values) // 3
    if not third:
        raise ValueError("a trend takes three values or more")
    return median(values[-third:]) - median(values[-2 * third : -third])


def grown(samples: Sequence[Sample], slack: Sample) -> list[str]:
    lines = []
    for name in Sample.__struct_fields__[:-1]:
        allowed: int = getattr(slack, name)
        more = growth([getattr(sample, name) for sample in samples])
        if more > allowed:
            lines.append(f"{name.replace('_', ' ')} grew by {more:,.0f}, more than {allowed:,}")
    return lines
