"""A routing policy: urgent messages go to VIPs, the others to the less busy of two agents.

Where Python finds this module, run the broker with `BROKER_ROUTING_POLICY=vip_first:choose`.
"""

from collections.abc import Sequence

from broker import Agent, Agents, ChatMessage


def choose(message: ChatMessage, agents: Agents) -> Agent:
    """Choose a VIP for a message of high priority, if there is one, or else one of two agents."""
    if message.text("priority") == "high":
        # It looks at each agent that may receive the message: a millisecond for ten thousand.
        vips = [agent for agent in agents if agent.agent_name.startswith("vip")]
        if vips:
            return _less_busy(vips)
    return _less_busy(agents.sample(2))


def _less_busy(agents: Sequence[Agent]) -> Agent:
    return min(agents, key=lambda agent: agent.routed)
