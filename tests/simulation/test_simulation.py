"""The whole broker through thousands of runs with random faults, each repeatable by its seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.simulate import simulate

CHUNKS = 40
CHUNKS_FOR_EACH_CHANGE = 2
SEEDS_PER_CHUNK = 50


@pytest.mark.exhaustive
def test_the_runs_have_seen_every_fault() -> None:
    """A fault that never happens shows nothing. It comes first, as it takes longest."""
    seen = "\n".join(line for seed in range(200) for line in simulate(seed).lines)
    for event in (
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
        "invalid_properties",
    ):
        assert event in seen, event


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(
            chunk,
            marks=(
                pytest.mark.xdist_group(f"simulation {chunk}"),
                *([pytest.mark.exhaustive] if chunk >= CHUNKS_FOR_EACH_CHANGE else ()),
            ),
        )
        for chunk in range(CHUNKS)
    ],
)
def test_every_promise_is_kept_in_every_run(chunk: int) -> None:
    first = chunk * SEEDS_PER_CHUNK
    for seed in range(first, first + SEEDS_PER_CHUNK):
        violations = simulate(seed).violations
        assert not violations, f"replay it: python -m tests.simulation {seed}"


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
