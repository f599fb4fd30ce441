"""Every scenario in its short form, by another seed each time."""

import sys
from pathlib import Path
from random import randrange

import pytest
import trio

from tests.faults.report import complaint, line
from tests.faults.run_scenario import open_runner, replay
from tests.faults.scenario import Scenario
from tests.faults.scenarios import (
    SCENARIOS,
    alarms,
    cluster,
    delivery_limit,
    impossible,
    rabbitmq_outage,
    topology,
)
from tests.lab.hosts import why_no_network
from tests.lab.rabbitmq_cluster import RabbitmqCluster
from tests.lab.rabbitmq_node import RabbitmqNode

pytestmark = pytest.mark.exhaustive

LIMIT = 600.0
"""Seconds; nothing here takes this long, on a machine with other work neither."""


RABBITMQS_DOING = (alarms, cluster, delivery_limit, impossible, rabbitmq_outage, topology)
"""Modules of scenarios in which RabbitMQ itself fails or refuses."""


def marks(scenario: Scenario) -> list[pytest.MarkDecorator]:
    """Name the worker, one for all scenarios of a cluster, and what to repeat on RabbitMQ 4.0."""
    group = "cluster" if scenario.needs == "cluster" else scenario.name
    marks = [pytest.mark.xdist_group(group)]
    if sys.modules[scenario.run.__module__] in RABBITMQS_DOING:
        marks.append(pytest.mark.rabbitmq_version)
    return marks


@pytest.fixture(
    params=[
        pytest.param(scenario, id=name, marks=marks(scenario))
        for name, scenario in SCENARIOS.items()
    ]
)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    chosen: Scenario = request.param
    return chosen


@pytest.fixture
def needed_cluster(request: pytest.FixtureRequest, scenario: Scenario) -> RabbitmqCluster | None:
    """A cluster for scenarios that ask for one.

    Not started by the test itself: a portal's thread is waited for, and a running loop must not.
    """
    return request.getfixturevalue("cluster") if scenario.needs == "cluster" else None


async def test_scenario(
    scenario: Scenario,
    rabbitmq: RabbitmqNode,
    needed_cluster: RabbitmqCluster | None,
    tmp_path: Path,
) -> None:
    if scenario.needs == "hosts" and (reason := why_no_network()):
        pytest.skip(reason)
    directory, seed = tmp_path / scenario.name, randrange(1_000_000)
    print("to repeat it:", replay(scenario.name, seed))  # noqa: T201 - shown by whatever fails
    with trio.fail_after(LIMIT):
        async with open_runner(node=rabbitmq, cluster=needed_cluster) as runner:
            result = await runner.run(scenario, directory, seed=seed, is_long=False)
    print(line(result))  # noqa: T201 - shown by -rP
    assert not result.problems, complaint(result)
    assert result.confirmed > 0
    assert result.faults > 0
