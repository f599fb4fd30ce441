"""The policy `consistent_hash`: one conversation, one agent."""

from hashlib import blake2b

from broker.core.agent import Agent
from broker.core.messages import ChatMessage
from broker.core.routing.agents import Agents
from broker.core.routing.hash_ring import HashRing, RingPlace


class ConsistentHash:
    """Gives all messages of a conversation to the same agent while it is online.

    Without `conversation_id`, the messages of a sender are one. All brokers that know the same
    agents choose alike.
    """

    def __init__(self) -> None:
        self._ring = HashRing()

    def __call__(self, message: ChatMessage, agents: Agents, /) -> Agent:
        """Choose the agent to which the conversation belongs. O(1).

        When few agents of many have what the message requires, it is O(agents for each of them),
        or O(those) if they are fewer.
        """
        key = self.key(message)
        owner = self._ring.owner(key)
        if owner is not None and owner in agents:
            return owner
        return self._ring.nearest(key, agents, patience=len(agents)) or max(
            agents, key=lambda agent: _affinity(key, agent.agent_id)
        )

    def key(self, message: ChatMessage) -> str:
        """Return what the conversation goes by that a message belongs to."""
        return message.text("conversation_id") or message.sender_id

    def place(self, message: ChatMessage) -> RingPlace | None:
        """Return where the conversation lies on the ring, for people."""
        return self._ring.place(self.key(message))

    def arrived(self, agent: Agent) -> None:
        """Enter an agent that has come online, or has another form."""
        self._ring.add(agent)

    def departed(self, agent_id: str) -> None:
        """Take out an agent that is not online any more."""
        self._ring.remove(agent_id)


def _affinity(key: str, agent_id: str) -> bytes:
    # Rendezvous hashing (Thaler and Ravishankar, 1996).
    return blake2b(f"{key}\0{agent_id}".encode(), digest_size=8).digest()
