"""The scenarios, one module per family.

To add one: write an ``async def`` that takes an `Environment` (or a `ClusterEnvironment`), does
harm, and returns what that may lead to (`Allowed`). Above it goes ``@scenario`` with one line each
for the fault and the promise; a new module is named below. Afterwards all peers are made sound, the
broker routes what is left and stops, and everything that came out is checked. So a scenario itself
asserts only what it promises in addition.
"""

from tests.faults.scenario import Scenario
from tests.faults.scenarios import (
    alarms,
    broker_crash,
    cluster,
    delivery_limit,
    freezing,
    holding,
    huge_update,
    impossible,
    network,
    poison,
    policy_swap,
    rabbitmq_outage,
    registry_storm,
    server_outage,
    server_trouble,
    soak,
    stopping,
    topology,
)

SCENARIOS = {
    one.name: one
    for module in (
        *(alarms, broker_crash, delivery_limit, freezing, holding, huge_update, impossible),
        *(network, poison, policy_swap, rabbitmq_outage, registry_storm, server_outage),
        *(server_trouble, soak, stopping, topology, cluster),
    )
    for one in vars(module).values()
    if isinstance(one, Scenario)
}
