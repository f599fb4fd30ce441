"""One agent, as the registry knows it."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from broker.core.messages import UNKNOWN_AGENT_NAME
from broker.core.versions import NEVER, Version

_PLACE_BITS = 32
_PLACE = (1 << _PLACE_BITS) - 1


# There may be a million of them, so they spare the garbage collector, which they do not need as
# nothing in them refers back, and the bytes that it takes of each object it watches.
class Agent(msgspec.Struct, gc=False, eq=False):
    """One known agent. Only its registry changes it."""

    agent_id: str
    place: int  # its index in the list of online agents, or `~index` in that of the others
    agent_name: str = UNKNOWN_AGENT_NAME
    last_seen: datetime | None = None  # by the server
    routed: int = 0  # messages
    changed: Version = NEVER  # what made it come or go, if later than the latest full update

    @property
    def is_online(self) -> bool:
        """Whether messages may be routed to this agent."""
        return self.place >= 0

    @property
    def capabilities(self) -> Sequence[str]:
        """What the agent said that it can do."""
        return ()

    def can(self, required: Sequence[str]) -> bool:
        """Whether it has all these capabilities."""
        return not required


class CapableAgent(Agent, gc=False, eq=False):
    """One that has said what it can do. The others need no memory for it."""

    known: tuple[str, ...] = ()
    told: Version = NEVER  # what said so
    places: int = 0
    """Its index in the list of the online agents with each of them, while it is online. They are
    packed into one number, 32 bits for each, since an array takes twice the memory."""

    @property
    def capabilities(self) -> Sequence[str]:
        """What the agent said that it can do."""
        return self.known

    def can(self, required: Sequence[str]) -> bool:
        """Whether it has all these capabilities."""
        known = self.known
        for capability in required:  # noqa: SIM110 - `all` takes four times as long
            if capability not in known:
                return False
        return True

    def place_having(self, capability: str) -> int:
        """Return its index in the list of those online with one of its capabilities."""
        return self.places >> _PLACE_BITS * self.known.index(capability) & _PLACE

    def move_to(self, place: int, capability: str) -> None:
        """Note its index in the list of those online with one of its capabilities."""
        moved_by = place - self.place_having(capability)
        self.places += moved_by << _PLACE_BITS * self.known.index(capability)


def made_capable(agent: Agent) -> CapableAgent:
    """Return the same agent, with room for what it can do."""
    return CapableAgent(
        agent.agent_id,
        agent.place,
        agent.agent_name,
        agent.last_seen,
        agent.routed,
        agent.changed,
    )
