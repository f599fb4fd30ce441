"""Every scenario in its short form, by another seed each time."""

import logging
from pathlib import Path
from random import randrange

import pytest
import trio

from tests.faults.report import complaint
from tests.faults.run_scenario import open_runner
from tests.faults.scenario import Scenario
from tests.faults.scenarios import SCENARIOS
from tests.lab.rabbitmq_cluster import RabbitmqCluster
from tests.lab.rabbitmq_node import RabbitmqNode

LIMIT = 300.0
"""Seconds; nothing here takes this long."""


@pytest.fixture(params=SCENARIOS.values(), ids=SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return request.param


@pytest.fixture
def needed_cluster(request: pytest.FixtureRequest, scenario: Scenario) -> RabbitmqCluster | None:
    """A cluster for scenarios that ask for one.

    Not started by the test itself: a portal's thread is waited for, and a running loop must not.
    """
    return request.getfixturevalue("cluster") if scenario.rabbitmq == "cluster" else None


async def test_scenario(
    scenario: Scenario,
    rabbitmq: RabbitmqNode,
    needed_cluster: RabbitmqCluster | None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # It reports each connection that it loses, and losing them is the purpose here.
    caplog.set_level(logging.CRITICAL, "aiormq")
    with trio.fail_after(LIMIT):
        async with open_runner(node=rabbitmq, cluster=needed_cluster) as runner:
            directory, seed = tmp_path / scenario.name, randrange(1_000_000)
            result = await runner.run(scenario, directory, seed=seed, is_long=False)
    assert not result.problems, complaint(result)
    assert result.confirmed > 0
    assert result.faults > 0
