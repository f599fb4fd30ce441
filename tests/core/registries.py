import msgspec

from broker.core.messages import AgentStatus, ChatMessage, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.core.versions import Version


def apply(registry: AgentRegistry, update: StatusUpdate, version: Version | None = None) -> int:
    """Apply an update without pauses; return how many agents there was no room for."""
    return sum(registry.applying(update, version))


def register(
    registry: AgentRegistry,
    agent_id: str,
    name: str = "",
    capabilities: tuple[str, ...] | None = None,
) -> None:
    version = registry.clock.next()
    registry.register(agent_id, name or agent_id.upper(), version, capabilities)


def disconnect(registry: AgentRegistry, agent_id: str) -> None:
    registry.disconnect(agent_id, registry.clock.next())


def status_update(*online: str, is_full: bool = False) -> StatusUpdate:
    agents = {agent_id: AgentStatus(agent_id, is_online=True) for agent_id in online}
    return StatusUpdate(agents, is_full=is_full)


def registry_with(*online: str, max_agents: int = 100) -> AgentRegistry:
    """Make a registry of agents with their id in upper case for a name."""
    registry = AgentRegistry(max_agents)
    for agent_id in online:
        register(registry, agent_id)
    return registry


def online(registry: AgentRegistry) -> list[str]:
    return [agent.agent_id for agent in registry if agent.is_online]


def chat(
    sender_id: str, *required: str, receiver_id: str | None = None, **fields: str
) -> ChatMessage:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return ChatMessage(
        "TEXT", raw, sender_id, receiver_id=receiver_id, required_capabilities=required
    )
