"""What a run of the sandbox is to do."""

from dataclasses import dataclass
from random import Random

KILL_MESSAGES = 6000
"""How many messages are exchanged while the broker and RabbitMQ are killed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.

    Attributes:
        messages: How many, or None to talk until stopped.
        seed: Makes all choices repeatable.
        malformed: Percentage.
        policy: The broker's routing policy, by its name.
        slow_agents: How many of the agents are slow.
        hold: Seconds for which the broker holds what nobody can receive.
        kill: Whether the broker and RabbitMQ are killed on the way.
        http_port: Where the broker serves its status page; None for any free port.
    """

    agents: int
    messages: int | None
    seed: int
    malformed: float
    policy: str = "random"
    slow_agents: int = 0
    hold: float = 0.0
    kill: bool = False
    http_port: int | None = None

    def random(self, purpose: str) -> Random:
        """Return a source of choices that is independent of those for other purposes."""
        return Random(f"{self.seed} {purpose}")
