"""What a scenario is."""

from collections.abc import Awaitable, Callable

import msgspec

from tests.faults.arena import Arena
from tests.faults.checker import Allowed
from tests.faults.cluster_arena import ClusterArena
from tests.faults.ground import Ground


class AnyScenario[A: Ground](msgspec.Struct, frozen=True):
    """One scenario, as it stands in the table.

    Attributes:
        play: Plays it and returns what it may lead to. Whatever it raises makes it fail.
        fault: What is done, in one line.
        promise: What must hold, beside that no message is lost, in one line.
    """

    play: Callable[[A], Awaitable[Allowed]]
    fault: str
    promise: str

    @property
    def name(self) -> str:
        """Its name: that of the function."""
        return self.play.__name__


class Scenario(AnyScenario[Arena], frozen=True):
    """A scenario with one broker and one RabbitMQ node.

    Attributes:
        has_own_node: Whether it stops or changes RabbitMQ itself, and not only its own queues.
    """

    has_own_node: bool = False


class ClusterScenario(AnyScenario[ClusterArena], frozen=True):
    """A scenario with several brokers and a RabbitMQ cluster, which it leaves whole."""
