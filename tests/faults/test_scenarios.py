"""Every scenario in its short form, by another seed each time."""

import logging
from pathlib import Path
from random import randrange

import pytest
import trio

from broker.sandbox.rabbitmq import RabbitmqNode
from tests.faults.report import complaint
from tests.faults.run_scenario import open_runner
from tests.faults.scenario import Scenario
from tests.faults.scenarios import SCENARIOS

LIMIT = 300.0
"""Seconds; nothing here takes this long."""


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_scenario(
    scenario: Scenario,
    rabbitmq: RabbitmqNode,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # It reports each connection that it loses, and losing them is the purpose here.
    caplog.set_level(logging.CRITICAL, "aiormq")
    cluster = request.getfixturevalue("cluster") if scenario.rabbitmq == "cluster" else None
    with trio.fail_after(LIMIT):
        async with open_runner(node=rabbitmq, cluster=cluster) as runner:
            directory, seed = tmp_path / scenario.name, randrange(1_000_000)
            result = await runner.run(scenario, directory, seed=seed, is_long=False)
    assert not result.problems, complaint(result)
    assert result.confirmed > 0
    assert result.faults > 0
