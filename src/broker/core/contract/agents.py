"""Registrations of agents through the metadata queue."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct

from broker.core.contract.chat import ClientId
from broker.core.contract.kinds import AgentId, Capabilities, Text

NAME = Meta(description="When missing, Unknown Agent.")
OFFER = Meta(description="What the agent can do from now on. When missing, the same as before.")

type AgentName = Annotated[Text, NAME]
type Offered = Annotated[Capabilities, OFFER]


class RegisterAgent(Struct, rename={"client_id": "_client_id"}):
    """An agent enters the registry, online."""

    message_type: Literal["REGISTER_AGENT"]
    agent_id: AgentId
    agent_name: AgentName = UNSET
    capabilities: Offered = UNSET
    client_id: ClientId = UNSET


class RegisterAgentResponse(Struct, rename={"client_id": "_client_id"}):
    """The answer to REGISTER_AGENT."""

    message_type: Literal["REGISTER_AGENT_RESPONSE"]
    status: Literal["success"]
    agent_id: AgentId
    message: str
    client_id: ClientId = UNSET


class ClientDisconnected(Struct):
    """An agent went offline; its registration stays."""

    message_type: Literal["CLIENT_DISCONNECTED"]
    agent_id: AgentId
