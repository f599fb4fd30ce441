"""Bring agents online and offline, and let the central server report it in both of its ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from broker.core.messages import AgentStatus
from broker.sandbox.agents import Agent
from broker.sandbox.central_server import CentralServer
from broker.sandbox.outbox import Outbox
from broker.sandbox.server_queues import disconnection, registration


@dataclass(frozen=True, slots=True)
class Presence:
    """All agents, and which of them are online: none at first."""

    agents: Sequence[Agent]
    server: CentralServer
    outbox: Outbox
    random: Random

    @property
    def online(self) -> list[Agent]:
        """The agents that are online."""
        return [agent for agent in self.agents if agent.online.is_open]

    @property
    def offline(self) -> list[Agent]:
        """The agents that are not."""
        return [agent for agent in self.agents if not agent.online.is_open]

    def come(self, agent: Agent) -> None:
        """Bring an agent online."""
        agent.online.open()
        self.server.update(_status(agent))
        self.outbox.put([registration(agent.agent_id, agent.agent_name)])

    def go(self, agent: Agent) -> None:
        """Take an agent offline."""
        agent.online.close()
        self.server.update(_status(agent))
        self.outbox.put([disconnection(agent.agent_id)])

    def come_all(self) -> None:
        """Bring all agents online."""
        for agent in self.offline:
            self.come(agent)

    def change(self, *, staying: int) -> None:
        """Let one agent, chosen at random, come or go; at least so many stay online."""
        candidates = self.agents if len(self.online) > staying else self.offline
        if not candidates:
            return
        agent = self.random.choice(candidates)
        if agent.online.is_open:
            self.go(agent)
        else:
            self.come(agent)

    def leave_one(self) -> None:
        """Let all agents go but one, chosen at random."""
        online = self.online
        stays = self.random.choice(online) if online else None
        for agent in online:
            if agent is not stays:
                self.go(agent)


def _status(agent: Agent) -> AgentStatus:
    return AgentStatus(
        agent_id=agent.agent_id,
        agent_name=agent.agent_name,
        is_online=agent.online.is_open,
        last_seen=datetime.now(UTC),
    )
