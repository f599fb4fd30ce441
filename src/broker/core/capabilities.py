"""What agents can do: which capabilities are accepted, and who online has which."""

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial

from broker.core.agent import CapableAgent
from broker.core.agent_ids import is_agent_id
from broker.core.lone_surrogates import show_lone_surrogates

MAX_CAPABILITIES = 64
"""For each agent, and for each message that requires some."""
MAX_CAPABILITY_LENGTH = 255
"""Characters."""
REQUIREMENT = (
    f"at most {MAX_CAPABILITIES} strings of 1 to {MAX_CAPABILITY_LENGTH} characters, "
    "none of them a control character"
)


def as_capabilities(names: Iterable[str]) -> tuple[str, ...] | None:
    """Return capabilities once each and in order; None if there are too many or one is no name.

    Half an emoji in a name becomes a replacement character, as in the names of agents.
    """
    unique = {show_lone_surrogates(name) if "\0" in name else name for name in names}
    is_allowed = partial(is_agent_id, max_length=MAX_CAPABILITY_LENGTH)
    if len(unique) > MAX_CAPABILITIES or not all(map(is_allowed, unique)):
        return None
    return _shared(tuple(sorted(unique)))


@lru_cache(maxsize=4096)
def _shared(capabilities: tuple[str, ...]) -> tuple[str, ...]:
    """Return an equal tuple that agents with the same capabilities share."""
    return capabilities


class CapabilityIndex:
    """The online agents with each capability, in lists in which each agent knows its place."""

    def __init__(self) -> None:
        self._having: dict[str, list[CapableAgent]] = {}

    def add(self, agent: CapableAgent) -> None:
        """Enter an agent that has come online. O(its capabilities)."""
        for capability in agent.known:
            having = self._having.setdefault(capability, [])
            agent.move_to(len(having), capability)
            having.append(agent)

    def remove(self, agent: CapableAgent) -> None:
        """Take out an agent that was entered. O(its capabilities, and those of its neighbours)."""
        for capability in agent.known:
            having = self._having[capability]
            last = having.pop()
            if last is not agent:
                place = agent.place_having(capability)
                having[place] = last
                last.move_to(place, capability)
            if not having:
                del self._having[capability]
        agent.places = 0

    def having(self, capability: str) -> Sequence[CapableAgent]:
        """Return the online agents with a capability, to be read before anything changes. O(1)."""
        return self._having.get(capability, ())

    def having_all(self, capabilities: Sequence[str]) -> Sequence[CapableAgent]:
        """Return the online agents with all of several capabilities. O(agents with the rarest)."""
        rarest = min(map(self.having, capabilities), key=len)
        return [agent for agent in rarest if agent.can(capabilities)]
