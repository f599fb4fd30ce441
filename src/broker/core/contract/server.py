"""What the central server and the broker tell each other."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct

from broker.core.contract.agents import NAME, OFFER
from broker.core.contract.kinds import AgentId, Anything, Flag, SomeCapabilities, Text

type _Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class ServerAvailable(Struct):
    """A central server says where its WebSocket endpoint is."""

    message_type: Literal["SERVER_AVAILABLE"]
    server_id: Annotated[Text, Meta(description="Logged and shown.")] = UNSET
    websocket_url: Annotated[
        Text, Meta(description="Connected to only with BROKER_FOLLOW_ADVERTISED_URL.")
    ] = UNSET
    timestamp: Annotated[Anything, Meta(description="Not interpreted.")] = UNSET


class RegisterBroker(Struct):
    """The first message of the broker in a session."""

    message_type: Literal["REGISTER_BROKER"]
    broker_name: str


class RegisterBrokerResponse(Struct):
    """The server accepts the broker, or refuses it."""

    message_type: Literal["REGISTER_BROKER_RESPONSE"]
    status: Annotated[str, Meta(description="`success`; anything else is a refusal.")]
    broker_id: Annotated[
        Text, Meta(description="What the broker calls itself from now on, at most 255 bytes.")
    ] = UNSET


class AgentEntry(Struct, gc=False):
    """What the server says of one agent. An entry of another form is skipped and counted.

    An agent that it names stays as it was then.
    """

    agent_id: AgentId
    agent_name: Annotated[str | None, NAME] = None
    is_online: Annotated[
        Flag,
        Meta(
            description="When missing, the agent is offline; but a full update must say it of one "
            "agent at least, if it names any."
        ),
    ] = None
    last_seen: Annotated[
        datetime | float | None, Meta(description="RFC 3339, or seconds since 1970.")
    ] = None
    capabilities: Annotated[SomeCapabilities | None, OFFER] = None


class AgentStatusUpdate(Struct):
    """Who is online. It may come before the answer to the registration."""

    message_type: Literal["AGENT_STATUS_UPDATE"]
    agents: list[AgentEntry]
    is_full_update: Annotated[
        Flag, Meta(description="Whether agents that are not named go offline; when missing, no.")
    ] = None


class Ping(Struct):
    """Wants a PONG at once."""

    message_type: Literal["PING"]


class ServerHeartbeat(Struct):
    """Wants a PONG at once, too."""

    message_type: Literal["SERVER_HEARTBEAT"]


class ServerError(Struct):
    """Before the registration it is a refusal; afterwards it is logged."""

    message_type: Literal["ERROR"]


class Pong(Struct):
    """The broker is there."""

    message_type: Literal["PONG"]
    broker_id: str


class RequestAgentStatus(Struct):
    """The broker wants a full status update. A server that does not know it answers ERROR."""

    message_type: Literal["REQUEST_AGENT_STATUS"]
    sender_id: Annotated[str, Meta(description="The broker's id.")]
    timestamp: _Time
