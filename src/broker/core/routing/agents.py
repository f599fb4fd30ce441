"""The agents that may receive one message, as a routing policy sees them."""

from collections.abc import Callable, Iterator, Sequence

from broker.core.agent import Agent, CapableAgent
from broker.core.messages import ChatMessage
from broker.core.registry import AgentRegistry


class Agents:
    """Who may receive a message: never its sender, and only who has what it requires.

    Read-only, and to be used before the policy returns: agents come and go afterwards.

    Args:
        random: Returns a float in [0.0, 1.0).
    """

    __slots__ = ("_among", "_count", "_left_out", "_message", "_random", "_registry")

    def __init__(
        self, message: ChatMessage, registry: AgentRegistry, random: Callable[[], float]
    ) -> None:
        self._message = message
        self._registry = registry
        self._random = random
        # The sender is not taken out of the list, but its place there is passed over.
        if message.required_capabilities:
            self._among, left_out = _capable(message, registry)
        else:
            self._among = registry.online
            sender = registry.get(message.sender_id)
            left_out = None if sender is None or sender.place < 0 else sender.place
        count = len(self._among)
        if left_out is None:
            self._count = self._left_out = count
        else:
            self._count, self._left_out = count - 1, left_out

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Agent]:
        for place, agent in enumerate(self._among):
            if place != self._left_out:
                yield agent

    def __contains__(self, agent: object) -> bool:
        """Whether it is one of them, as it is now and not as it once was. O(1)."""
        if not isinstance(agent, Agent) or not self._registry.is_online(agent):
            return False
        message = self._message
        required = message.required_capabilities
        if not required:
            return agent.place != self._left_out
        return agent.agent_id != message.sender_id and agent.can(required)

    def get(self, agent_id: str) -> Agent | None:
        """Return the agent with an id; None if there is none that may receive. O(1)."""
        agent = self._registry.get(agent_id)
        return agent if agent is not None and agent in self else None

    def random(self) -> Agent:
        """Choose one, each with the same chance. O(1).

        Raises:
            IndexError: There is none.
        """
        return self._at(int(self._random() * self._count))

    def sample(self, count: int) -> Sequence[Agent]:
        """Choose several different ones in random order, all if there are no more. O(count)."""
        if count == 2 <= self._count:  # noqa: PLR2004 - the usual number, and thus made fast
            first = int(self._random() * self._count)
            second = int(self._random() * (self._count - 1))
            second += second >= first
            among, left_out = self._among, self._left_out
            return among[first + (first >= left_out)], among[second + (second >= left_out)]
        # Fisher and Yates' shuffle, as far as it is needed, of places that move when drawn.
        moved: dict[int, int] = {}
        chosen = []
        for step in range(min(count, self._count)):
            drawn = step + int(self._random() * (self._count - step))
            chosen.append(self._at(moved.get(drawn, drawn)))
            moved[drawn] = moved.get(step, step)
        return chosen

    def _at(self, place: int) -> Agent:
        # Places from that of the one left out on move up by one.
        return self._among[place + (place >= self._left_out)]


def _capable(message: ChatMessage, registry: AgentRegistry) -> tuple[Sequence[Agent], int | None]:
    """Return agents with all that the message requires, and the place of its sender in the list."""
    required = message.required_capabilities
    sender = registry.get(message.sender_id)
    if len(required) > 1:
        return [agent for agent in registry.having_all(required) if agent is not sender], None
    having = registry.having(required[0])
    if isinstance(sender, CapableAgent) and sender.is_online and sender.can(required):
        return having, sender.place_having(required[0])
    return having, None
