"""What a scenario is."""

from collections.abc import Awaitable, Callable

import msgspec

from chaos.arena import Arena
from chaos.checker import Allowed


class Scenario(msgspec.Struct, frozen=True):
    """One scenario, as it stands in the table.

    Attributes:
        play: Plays it and returns what it may lead to. Whatever it raises makes it fail.
        fault: What is done, in one line.
        promise: What must hold, beside that no message is lost, in one line.
        has_own_node: Whether it stops or changes RabbitMQ itself, and not only its own queues.
    """

    play: Callable[[Arena], Awaitable[Allowed]]
    fault: str
    promise: str
    has_own_node: bool = False

    @property
    def name(self) -> str:
        """Its name: that of the function."""
        return self.play.__name__
