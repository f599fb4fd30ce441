"""Who is online: the agent registry.

Online agents live in one list and the others in a second, and each agent knows its place there.
Whoever comes or goes is appended to one list, and the last agent of the other moves into the gap;
choosing at random is one index. So none of them grows with the number of agents.

Each of several brokers has a registry, and they hear of the same changes in different orders, and
of some twice. So each change has a version and the latest one decides: whatever the order, the
registries end equal. Such a map of last-writer-wins registers is one of the conflict-free
replicated data types of Shapiro and others, 2011.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import batched
from typing import Protocol

from broker.core.agent import Agent, CapableAgent, made_capable
from broker.core.capabilities import CapabilityIndex
from broker.core.messages import AgentStatus, StatusUpdate
from broker.core.versions import NEVER, ServerVersion, Version, VersionClock

_SLICE = 1_000  # agents applied between two pauses of `AgentRegistry.applying`: less than 1 ms
_WATCHED_SLICE = 50
"""The same when somebody is told of each of them: a policy may take 200 µs for it."""


class RegistryFullError(Exception):
    """There is no room for another agent, because as many as may be known are online."""


class Watcher(Protocol):
    """Follows who comes and goes, for whoever chooses among agents. Must not raise."""

    def arrived(self, agent: Agent) -> None:
        """Note that an agent has come online, or has been told to have other capabilities."""

    def departed(self, agent_id: str) -> None:
        """Note that an agent is not online any more."""


class AgentRegistry:
    """Known agents and which of them are online.

    Who goes offline stays known, until there is no room for somebody new.

    Not safe for concurrent use: one task owns it.

    Attributes:
        max_agents: How many agents may be known; exceeded while a full update is applied in slices.
        clock: Gives the versions of changes that are first known here.

    Args:
        origin: Names this registry in versions; unique among all brokers.
        watchers: Told of each agent that comes or goes, once it has.
    """

    def __init__(self, max_agents: int, origin: str = "", watchers: Sequence[Watcher] = ()) -> None:
        self.max_agents = max_agents
        self._watchers = watchers
        self.clock = VersionClock(origin)
        self._full_update = NEVER
        # Agents that the latest full update was unclear about, and the one before that was not.
        self._unclear: dict[str, Version] = {}
        # The versions of those names that are older than the agent's coming or going.
        self._named: dict[str, Version] = {}
        self._agents: dict[str, Agent] = {}
        self._online: list[Agent] = []
        self._offline: list[Agent] = []
        self._capable = CapabilityIndex()

    @property
    def known_count(self) -> int:
        """How many agents are known."""
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

    def get(self, agent_id: str) -> Agent | None:
        """Return a known agent. O(1)."""
        return self._agents.get(agent_id)

    @property
    def online(self) -> Sequence[Agent]:
        """The online agents, to be read before anything changes; each stands at its place."""
        return self._online

    @property
    def offline(self) -> Sequence[Agent]:
        """The other known agents, likewise."""
        return self._offline

    def is_online(self, agent: Agent) -> bool:
        """Whether somebody who was in this registry is online and still has this form. O(1)."""
        place, online = agent.place, self._online
        return 0 <= place < len(online) and online[place] is agent

    def anybody_but(self, agent_id: str, random: Callable[[], float]) -> Agent | None:
        """Choose any other online agent, each with the same chance; None if there is none. O(1).

        Args:
            random: Returns a float in [0.0, 1.0), such as `random.random`.
        """
        online = self._online
        left_out = self._agents.get(agent_id)
        if left_out is None or left_out.place < 0:
            return online[int(random() * len(online))] if online else None
        count = len(online) - 1
        place = int(random() * count)
        # The places after the one left out move up by one.
        return online[place + (place >= left_out.place)] if count else None

    def having(self, capability: str) -> Sequence[CapableAgent]:
        """Return the online agents with a capability, to be read before anything changes. O(1)."""
        return self._capable.having(capability)

    def having_all(self, capabilities: Sequence[str]) -> Sequence[CapableAgent]:
        """Return the online agents with all of several. O(those that have the rarest)."""
        return self._capable.having_all(capabilities)

    def is_told_by_server(self, agent: Agent) -> bool:
        """Whether the server has told the latest change of an agent, rather than a queue."""
        changed = agent.changed
        return isinstance(changed, ServerVersion) or changed <= self._listed(agent.agent_id)

    def count_routed(self, agent_id: str) -> None:
        """Count a message to a known agent. O(1)."""
        self._agents[agent_id].routed += 1

    def has_room(self, agent_id: str) -> bool:
        """Whether an agent that registers here and now can be entered. O(1)."""
        return agent_id in self._agents or not self._is_full()

    def register(
        self,
        agent_id: str,
        agent_name: str,
        version: Version,
        capabilities: tuple[str, ...] | None = None,
    ) -> None:
        """Add an agent, or rename a known one, and set it online. O(1).

        Args:
            capabilities: What it can do from now on; None if nothing is said of it.
            version: When it registered; what is known to be later stays.

        Raises:
            RegistryFullError: It is unknown, and there is no room for it.
        """
        self.clock.observe(version)
        listed = self._listed(agent_id)
        agent = self._agents.get(agent_id)
        if agent is None:
            if version <= listed:
                # It is offline, but when it comes back it can do what it said.
                if capabilities is None or self.known_count >= self.max_agents:
                    return
            elif self._is_full():
                raise RegistryFullError
            agent = self._add(agent_id)
        if capabilities is not None:
            agent = self._told(agent, capabilities, version)
        if version > max(agent.changed, listed):
            agent.changed = version
            agent.agent_name = agent_name
            self._named.pop(agent_id, None)
            self._set_online(agent)
        elif version > max(self._named.get(agent_id, agent.changed), listed):
            agent.agent_name = agent_name
            self._named[agent_id] = version

    def disconnect(self, agent_id: str, version: Version) -> None:
        """Set an agent offline; it stays known. O(1).

        An unknown one becomes known, if there is room: it may have registered with another broker
        before, and the word of that come after. For versions see `register`.
        """
        self.clock.observe(version)
        listed = self._listed(agent_id)
        agent = self._agents.get(agent_id)
        if agent is None:
            if version <= listed or self.known_count >= self.max_agents:
                return
            agent = self._add(agent_id)
        if version > max(agent.changed, listed):
            self._named.setdefault(agent_id, agent.changed)
            agent.changed = version
            self._set_offline(agent)

    def applying(self, update: StatusUpdate, version: Version | None = None) -> Iterator[int]:
        """Apply a status update in slices, and pause after each.

        A caller in an event loop lets other tasks run at each pause, also those that use and
        change this registry. Until the iterator is exhausted the update is applied only in part.

        O(agents named), a full update O(agents known) more.

        Args:
            version: When it was true; what is known to be later stays. None for the word of the
                server here and now, which is the last about all that was heard of before.

        Yields:
            How many agents of the slice there was no room for. A full update needs none of those
            that it does not name, so with one it is 0.

        Raises:
            RegistryFullError: A full update names more agents than may be known. At once; nothing
                of it is applied.
        """
        if update.is_full and len(update.agents) + len(update.unclear) > self.max_agents:
            raise RegistryFullError
        if version is None:
            version = self.clock.next()
        else:
            self.clock.observe(version)
        return self._applying(update, ServerVersion(*version))

    def _applying(self, update: StatusUpdate, version: Version) -> Iterator[int]:
        if version <= self._full_update:
            return
        size = min(_SLICE, _WATCHED_SLICE) if self._watchers else _SLICE
        if update.is_full:
            self._unclear = {agent_id: self._listed(agent_id) for agent_id in update.unclear}
            self._full_update = version
        for statuses in batched(update.agents.values(), size, strict=False):
            yield sum(not self._applied(status, update, version) for status in statuses)
        if not update.is_full:
            return
        # A copy, because places change while agents leave, here and at the pauses.
        for agents in batched(tuple(self._online), size, strict=False):
            for listed in agents:
                agent_id = listed.agent_id
                if agent_id in update.agents or agent_id in update.unclear:
                    continue
                agent = self._agents.get(agent_id)  # it may have taken another form meanwhile
                if agent is not None and agent.changed < version:
                    self._set_offline(agent)
            yield 0
        while len(self._agents) > self.max_agents and self._offline:
            for _ in range(min(len(self._agents) - self.max_agents, len(self._offline), _SLICE)):
                self._forget_one()
            yield 0

    def _applied(self, status: AgentStatus, update: StatusUpdate, version: Version) -> bool:
        agent = self._agents.get(status.agent_id)
        if agent is None:
            if self._is_full() and not update.is_full:
                return False
            agent = self._add(status.agent_id)
        if status.capabilities is not None:
            agent = self._told(agent, status.capabilities, version)
        if agent.changed < version:
            agent.changed = version
            agent.agent_name = status.agent_name
            agent.last_seen = status.last_seen
            self._named.pop(status.agent_id, None)
            if status.is_online:
                self._set_online(agent)
            else:
                self._set_offline(agent)
        elif self._named.get(status.agent_id, agent.changed) < version:
            agent.agent_name = status.agent_name
            self._named[status.agent_id] = version
        return True

    def _listed(self, agent_id: str) -> Version:
        """Return the latest full update that told whether the agent is online."""
        return self._unclear.get(agent_id, self._full_update)

    def _is_full(self) -> bool:
        return len(self._online) >= self.max_agents

    def _add(self, agent_id: str) -> Agent:
        if len(self._agents) >= self.max_agents and self._offline:
            self._forget_one()
        agent = self._agents[agent_id] = Agent(agent_id, place=~len(self._offline))
        self._offline.append(agent)
        return agent

    def _told(self, agent: Agent, capabilities: tuple[str, ...], version: Version) -> Agent:
        """Enter what an agent can do, and return the agent in its new form."""
        is_new_form = not isinstance(agent, CapableAgent)
        if not isinstance(agent, CapableAgent):
            plain, agent = agent, made_capable(agent)
            self._agents[agent.agent_id] = agent
            if plain.is_online:
                self._online[plain.place] = agent
                self._capable.add(agent)
            else:
                self._offline[~plain.place] = agent
        if version <= agent.told:
            return agent
        agent.told = version
        is_news = is_new_form or agent.known != capabilities
        if agent.is_online and is_news:
            self._capable.remove(agent)
            agent.known = capabilities
            self._capable.add(agent)
            for watcher in self._watchers:
                watcher.arrived(agent)
        agent.known = capabilities
        return agent

    def _forget_one(self) -> None:
        agent = self._offline[0]  # it has mostly been offline for long
        last = self._offline.pop()
        if last is not agent:
            self._offline[0] = last
            last.place = agent.place
        self._named.pop(agent.agent_id, None)
        del self._agents[agent.agent_id]

    def _set_online(self, agent: Agent) -> None:
        if agent.is_online:
            return
        last = self._offline.pop()
        if last is not agent:
            self._offline[~agent.place] = last
            last.place = agent.place
        agent.place = len(self._online)
        self._online.append(agent)
        if isinstance(agent, CapableAgent):
            self._capable.add(agent)
        for watcher in self._watchers:
            watcher.arrived(agent)

    def _set_offline(self, agent: Agent) -> None:
        if not agent.is_online:
            return
        last = self._online.pop()
        if last is not agent:
            self._online[agent.place] = last
            last.place = agent.place
        agent.place = ~len(self._offline)
        self._offline.append(agent)
        if isinstance(agent, CapableAgent):
            self._capable.remove(agent)
        for watcher in self._watchers:
            watcher.departed(agent.agent_id)
