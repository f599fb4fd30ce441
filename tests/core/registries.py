from broker.core.messages import AgentStatus, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.core.versions import Version


def apply(registry: AgentRegistry, update: StatusUpdate, version: Version | None = None) -> int:
    """Apply an update without pauses; return how many agents there was no room for."""
    return sum(registry.applying(update, version))


def status_update(*online: str, is_full: bool = False) -> StatusUpdate:
    agents = {agent_id: AgentStatus(agent_id, is_online=True) for agent_id in online}
    return StatusUpdate(agents, is_full=is_full)


def registry_with(*online: str, max_agents: int = 100) -> AgentRegistry:
    """Make a registry of agents with their id in upper case for a name."""
    registry = AgentRegistry(max_agents)
    for agent_id in online:
        registry.register(agent_id, agent_id.upper())
    return registry


def online(registry: AgentRegistry) -> list[str]:
    return [agent.agent_id for agent in registry if agent.is_online]
