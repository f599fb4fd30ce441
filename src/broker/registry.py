"""Who is online: the agent registry.

Online agents live in a list, and each agent knows its place there. Going
online is an append, going offline moves the last agent into the gap, and
choosing at random is one index, so none of them grows with the number of
agents.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import batched

import msgspec

from broker.messages import AgentStatus, StatusUpdate

_OFFLINE = -1
_SLICE = 1_000
"""Agents applied between two pauses of `AgentRegistry.applying`: well below a millisecond."""


# There may be a million of them, so they spare the garbage collector, which they do not need as
# nothing in them refers back, and the bytes that it takes of each object it watches.
class Agent(msgspec.Struct, gc=False):
    """One known agent. Only its registry changes it."""

    agent_id: str
    agent_name: str = ""
    capabilities: tuple[str, ...] = ()
    last_seen: datetime | None = None
    place: int = _OFFLINE

    @property
    def is_online(self) -> bool:
        """Whether messages may be routed to this agent."""
        return self.place != _OFFLINE


class AgentRegistry:
    """Known agents and which of them are online.

    Not safe for concurrent use: one task owns it.
    """

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}
        self._online: list[Agent] = []

    @property
    def known_count(self) -> int:
        """How many agents were ever named."""
        return len(self._agents)

    @property
    def online_count(self) -> int:
        """How many agents are online."""
        return len(self._online)

    def __contains__(self, agent_id: str) -> bool:
        return agent_id in self._agents

    def __getitem__(self, agent_id: str) -> Agent:
        return self._agents[agent_id]

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def is_online(self, agent_id: str) -> bool:
        """Return whether the agent is known and online."""
        agent = self._agents.get(agent_id)
        return agent is not None and agent.is_online

    def choose(self, sender_id: str, random: Callable[[], float]) -> Agent | None:
        """Choose one online agent other than the sender, each with the same chance. O(1).

        Args:
            sender_id: The agent that must not receive its own message.
            random: Returns a float in [0.0, 1.0), such as `random.random`.

        Returns:
            The chosen agent, or None when nobody but the sender is online.
        """
        count = len(self._online)
        sender = self._agents.get(sender_id)
        if sender is None or not sender.is_online:
            return self._online[int(random() * count)] if count else None
        if count == 1:
            return None
        # One place fewer to choose from; places from the sender's on move up by one.
        place = int(random() * (count - 1))
        return self._online[place + (place >= sender.place)]

    def register(self, agent_id: str, agent_name: str, capabilities: tuple[str, ...] = ()) -> None:
        """Add an agent, or rename a known one, and set it online. O(1)."""
        agent = self._known(agent_id)
        agent.agent_name = agent_name
        agent.capabilities = capabilities
        self._set_online(agent)

    def disconnect(self, agent_id: str) -> None:
        """Set an agent offline; it stays known. Does nothing for an unknown one. O(1)."""
        agent = self._agents.get(agent_id)
        if agent is not None:
            self._set_offline(agent)

    def apply(self, update: StatusUpdate) -> None:
        """Apply a status update. O(agents named), a full update O(agents online) more."""
        for _ in self.applying(update):
            pass

    def applying(self, update: StatusUpdate) -> Iterator[None]:
        """Apply a status update in slices, and pause after each.

        A caller in an event loop lets other tasks run at each pause, also those that use and
        change this registry. Until the iterator is exhausted the update is applied only in
        part: what happens to an agent at a pause counts as before the update or as after it.
        """
        for statuses in batched(update.agents.values(), _SLICE, strict=False):
            for status in statuses:
                self._apply_one(status)
            yield
        if not update.is_full:
            return
        # A copy, because places change while agents leave, here and at the pauses.
        for agents in batched(tuple(self._online), _SLICE, strict=False):
            for agent in agents:
                if agent.agent_id not in update.agents:
                    self._set_offline(agent)
            yield

    def _apply_one(self, status: AgentStatus) -> None:
        agent = self._known(status.agent_id)
        agent.agent_name = status.agent_name
        agent.last_seen = status.last_seen
        if status.is_online:
            self._set_online(agent)
        else:
            self._set_offline(agent)

    def _known(self, agent_id: str) -> Agent:
        agent = self._agents.get(agent_id)
        if agent is None:
            agent = self._agents[agent_id] = Agent(agent_id)
        return agent

    def _set_online(self, agent: Agent) -> None:
        if not agent.is_online:
            agent.place = len(self._online)
            self._online.append(agent)

    def _set_offline(self, agent: Agent) -> None:
        if agent.is_online:
            last = self._online.pop()
            if last is not agent:
                self._online[agent.place] = last
                last.place = agent.place
            agent.place = _OFFLINE
