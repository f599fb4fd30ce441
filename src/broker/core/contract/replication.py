"""What brokers on the same queues tell each other, through an exchange."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct

from broker.core.contract.agents import AgentName, Offered
from broker.core.contract.kinds import AgentId, Answers, Moment, Text


class _RegistryEvent(Struct, kw_only=True):
    changed_at: Moment
    origin: Annotated[
        AgentId,
        Meta(description="Which broker; new with each of its starts. Decides between equal times."),
    ]


class AgentRegistered(_RegistryEvent, kw_only=True):
    """A broker has registered an agent, and tells the others."""

    message_type: Literal["AGENT_REGISTERED"]
    agent_id: AgentId
    agent_name: AgentName = UNSET
    capabilities: Offered = UNSET


class AgentDisconnected(_RegistryEvent, kw_only=True):
    """A broker has taken an agent offline, and tells the others."""

    message_type: Literal["AGENT_DISCONNECTED"]
    agent_id: AgentId


class ServerAdvertised(_RegistryEvent, kw_only=True):
    """A server has advertised itself to a broker, which tells the others."""

    message_type: Literal["SERVER_ADVERTISED"]
    server_id: Text = UNSET
    websocket_url: Text = UNSET


class AnswersSeen(_RegistryEvent, kw_only=True):
    """A broker has seen answers to messages that another one must have routed, and tells it."""

    message_type: Literal["ANSWERS_SEEN"]
    answers: Annotated[
        Answers,
        Meta(
            description="The agent that answered, the id of the message that it answered, and the "
            "seconds since the answer came."
        ),
    ] = UNSET
