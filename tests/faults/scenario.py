"""The parts of a scenario."""

import os
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from tests.faults.checker import Allowed

ROOM = 3.0 if "PYTEST_XDIST_WORKER" in os.environ else 1.0
"""By how much all may take longer than promised where other tests share the machine."""
RECOVERY = 15.0 * ROOM
"""Seconds after a fault until messages must be routed; the longest pause between tries is 10."""
LINKING = 20.0 * ROOM
"""Seconds until the broker must answer the server."""

type Need = Literal["node", "cluster", "hosts"]


class Scenario(msgspec.Struct, frozen=True):
    """One scenario, as it stands in the table.

    Attributes:
        run: Runs it in a `BaseEnvironment` or a `ClusterEnvironment`, and returns what it may
            lead to. Whatever it raises makes it fail.
        promise: What must hold, beside that no message is lost, in one line.
        needs: What of RabbitMQ it takes: one node, a cluster, or a cluster with each node on a host
            of its own. Whatever it does to the nodes of a cluster, it leaves them as they were,
            failed or not.
    """

    run: Callable[[Any], Awaitable[Allowed]]
    fault: str
    promise: str
    needs: Need

    @property
    def name(self) -> str:
        return self.run.__name__


def scenario(
    *, fault: str, promise: str, needs: Need = "node"
) -> Callable[[Callable[[Any], Awaitable[Allowed]]], Scenario]:
    """Make a scenario of the function below it."""
    return lambda run: Scenario(run, fault, promise, needs)
