"""What a broker's registry costs an agent, measured in a process of its own."""

import sys

import msgspec
import trio

from tests.bench.environment import ROOT
from tests.bench.growth import crowd, status_frame
from tests.bench.results import Growth
from tests.bench.scale.results import Registry


async def registry_costs(agents: int) -> Registry:
    completed = await trio.run_process(
        [sys.executable, "-m", "tests.bench.growth", str(agents)], capture_stdout=True, cwd=ROOT
    )
    [growth] = msgspec.json.decode(completed.stdout, type=list[Growth])
    one, ten = (len(status_frame(crowd(range(count)))) for count in (1, 10))
    return Registry(
        agents=agents,
        bytes_per_agent=growth.bytes_per_agent,
        frame_bytes=(ten - one) / 9,
        delta_bytes=one,
        delta_microseconds=growth.delta_microseconds,
    )
