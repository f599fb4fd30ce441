"""The whole broker through thousands of runs with random faults, each repeatable by its seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.simulate import simulate
from tests.simulation.trace import Trace

_FAULTS = (
    "told TAKEN",
    "told HELD",
    "told RETURNED",
    "put back",
    "is cancelled",
    "is closed",
    "is away",
    "Rabbitmq refuses_exchange: True",
    "consumer_lost",
    "consumer_resumed",
    "announcements_refused",
    "announcements_resumed",
    "queue_unavailable",
    "queue_available",
    "hangs",
    " lost\n",
    "alarm: True",
    "after a long alarm",
    "Rabbitmq is_mute: True",
    "Rabbitmq is_down: True",
    "Rabbitmq is_silent: True",
    "Rabbitmq refuses_logins: True",
    "RabbitMQ confirmed nothing",
    "websocket gone",
    "CentralServer is_silent: True",
    "CentralServer refuses: True",
    "frame_ignored",
    "graceful: True",
    "graceful: False",
    "no_agent_online",
    "only_sender_online",
    "no_capable_agent",
    "receiver_offline",
    "announced: TAKEN ANSWERS_SEEN",
    "invalid_properties",
)
"""A fault that never happens shows nothing."""


def _by_chunks(*chunks: range) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "seeds",
        [
            pytest.param(
                chunk,
                marks=pytest.mark.xdist_group(f"simulation {chunk.start}"),
                id=f"{chunk.start}-{chunk.stop - 1}",
            )
            for chunk in chunks
        ],
    )


def test_every_promise_is_kept() -> None:
    for seed in range(20):
        _kept(seed)


@pytest.mark.exhaustive
@_by_chunks(range(20, 245), *(range(first, first + 195) for first in range(245, 2_000, 195)))
def test_every_promise_is_kept_whatever_fails(seeds: range) -> None:
    unseen = set(_FAULTS)
    for seed in seeds:
        lines = "\n".join(_kept(seed).lines)
        unseen = {fault for fault in unseen if fault not in lines}
    assert not unseen


def _kept(seed: int) -> Trace:
    trace = simulate(seed)
    assert not trace.violations, f"replay it: python -m tests.simulation {seed}"
    return trace


@pytest.mark.exhaustive
def test_a_seed_repeats_exactly_here_and_in_another_process() -> None:
    seeds = range(4)
    lines = [simulate(seed).lines for seed in seeds]
    assert [simulate(seed).lines for seed in seeds] == lines
    assert len({tuple(line) for line in lines}) == len(seeds)
    replayed = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *map(str, seeds)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "1234"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [line for line in replayed.stdout.splitlines() if line[:9].strip()[:1].isdigit()]
    assert found == [line for run in lines for line in run]
