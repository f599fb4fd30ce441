"""The scenarios, one module per family.

To add one: write an ``async def`` that takes an `Arena` (or a `ClusterArena`), does harm, and
returns what that may lead to (`Allowed`). Put it into the ``SCENARIOS`` of its module, with one
line each for the fault and the promise; a new module is named below. Afterwards all peers are made
sound, the broker routes what is left and stops, and everything that came out is checked. So a
scenario itself checks only what it promises beside that, and raises `ScenarioFailedError`.
"""

from tests.faults.scenario import ClusterScenario, Scenario
from tests.faults.scenarios import (
    alarms,
    broker_crash,
    cluster,
    freezing,
    huge_update,
    impossible,
    network,
    poison,
    rabbitmq_outage,
    registry_storm,
    server_outage,
    server_trouble,
    soak,
    stopping,
    topology,
)

_FAMILIES = (
    alarms,
    broker_crash,
    freezing,
    huge_update,
    impossible,
    network,
    poison,
    rabbitmq_outage,
    registry_storm,
    server_outage,
    server_trouble,
    soak,
    stopping,
    topology,
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for family in _FAMILIES for scenario in family.SCENARIOS
}

CLUSTER_SCENARIOS: dict[str, ClusterScenario] = {
    scenario.name: scenario for scenario in cluster.SCENARIOS
}

ALL_SCENARIOS: dict[str, Scenario | ClusterScenario] = {**SCENARIOS, **CLUSTER_SCENARIOS}
