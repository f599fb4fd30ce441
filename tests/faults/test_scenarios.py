"""Every scenario in its short form, by another seed each time."""

import logging
from pathlib import Path
from random import randrange

import pytest
import trio

from broker.sandbox.rabbitmq import RabbitmqNode
from tests.faults.play import Result, play, play_on_cluster
from tests.faults.report import complaint
from tests.faults.scenario import ClusterScenario, Scenario
from tests.faults.scenarios import CLUSTER_SCENARIOS, SCENARIOS
from tests.lab.rabbitmq_cluster import RabbitmqCluster

LIMIT = 300.0
"""Seconds; nothing here takes this long."""


def check(result: Result) -> None:
    assert not result.problems, complaint(result)
    assert result.confirmed > 0
    assert result.faults > 0


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_scenario(
    scenario: Scenario,
    rabbitmq: RabbitmqNode,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # It reports each connection that it loses, and losing them is the purpose here.
    caplog.set_level(logging.CRITICAL, "aiormq")
    with trio.fail_after(LIMIT):
        result = await play(
            scenario,
            rabbitmq,
            tmp_path / scenario.name,
            seed=randrange(1_000_000),
            is_long=False,
        )
    check(result)


@pytest.mark.parametrize("scenario", CLUSTER_SCENARIOS.values(), ids=CLUSTER_SCENARIOS)
async def test_cluster_scenario(
    scenario: ClusterScenario,
    cluster: RabbitmqCluster,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "aiormq")
    with trio.fail_after(LIMIT):
        result = await play_on_cluster(
            scenario,
            cluster,
            tmp_path / scenario.name,
            seed=randrange(1_000_000),
            is_long=False,
        )
    check(result)
