"""The scenarios, one module per family.

To add one: write an ``async def`` that takes a `Environment` (or a `ClusterEnvironment`), does
harm, and returns what that may lead to (`Allowed`). Put it into the ``SCENARIOS`` of its module,
with one line each for the fault and the promise; a new module is named below. Afterwards all peers
are made sound, the broker routes what is left and stops, and everything that came out is checked.
So a scenario itself checks only what it promises beside that, and raises `AssertionError`.
"""

from tests.faults.scenario import Scenario
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

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        *alarms.SCENARIOS,
        *broker_crash.SCENARIOS,
        *freezing.SCENARIOS,
        *huge_update.SCENARIOS,
        *impossible.SCENARIOS,
        *network.SCENARIOS,
        *poison.SCENARIOS,
        *rabbitmq_outage.SCENARIOS,
        *registry_storm.SCENARIOS,
        *server_outage.SCENARIOS,
        *server_trouble.SCENARIOS,
        *soak.SCENARIOS,
        *stopping.SCENARIOS,
        *topology.SCENARIOS,
        *cluster.SCENARIOS,
    )
}
