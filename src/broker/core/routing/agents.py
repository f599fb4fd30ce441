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
        among, left_out = _among(message, registry)
        self._among = among
        self._left_out = len(among) if left_out is None else left_out
        self._count = len(among) - (left_out is not None)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Agent]:
        for place, agent in enumerate(self._among):
            if place != self._left_out:
                yield agent

    def __contains__(self, agent: object) -> bool:
        """Whether it is one of them, as it is now and not as it once was. O(1)."""
        message = self._message
        if (
            not isinstance(agent, Agent)
            or not self._registry.is_online(agent)
            or agent.agent_id == message.sender_id
        ):
            return False
        required = message.required_capabilities
        return not required or agent.can(required)

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
            return self._at(first), self._at(second + (second >= first))
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


def _among(message: ChatMessage, registry: AgentRegistry) -> tuple[Sequence[Agent], int | None]:
    """Return agents with all that the message requires, and the place of its sender in the list."""
    required = message.required_capabilities
    sender = registry.get(message.sender_id)
    if sender is not None and (sender.place < 0 or (required and not sender.can(required))):
        sender = None
    if not required:
        return registry.online, None if sender is None else sender.place
    if len(required) > 1:
        return [agent for agent in registry.having_all(required) if agent is not sender], None
    place = sender.place_having(required[0]) if isinstance(sender, CapableAgent) else None
    return registry.having(required[0]), place
