"""The AsyncAPI document: channels, operations and messages, without any I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from broker.cli.asyncapi_examples import EXAMPLES
from broker.cli.asyncapi_headers import DeadLetterHeaders
from broker.cli.output import address
from broker.core import contract
from broker.core.codec import MAX_DEPTH
from broker.settings import Settings
from broker.version import __version__

_JSON = "application/json"
_SCHEMAS = "#/components/schemas/"
_DEAD_LETTER = "DeadLetter"
_WEBSOCKET = "server"
_REGISTRY = "registry"
_CHOICES = {
    "input": "Any of them will do.",
    "output": "What is addressed to an agent goes to number c % n of the n queues, counted from 0, "
    "with c the CRC-32 of the receiver_id in UTF-8; all else goes to the first.",
}

_REGISTRY_EVENTS: Sequence[contract.Declaration] = (
    contract.AgentRegistered,
    contract.AgentDisconnected,
    contract.ServerAdvertised,
    contract.AnswersSeen,
)


@dataclass(frozen=True, slots=True)
class _Operation:
    """What the broker does on a channel, and what answers it."""

    name: str
    action: str
    channel: str
    summary: str
    messages: Sequence[contract.Declaration]
    reply: Sequence[contract.Declaration] = ()

    @property
    def reply_channel(self) -> str:
        return _WEBSOCKET if self.channel == _WEBSOCKET else "output"


_OPERATIONS = (
    _Operation(
        "routeMessages",
        "receive",
        "input",
        "Route each chat message to an online agent that has all that it requires, never to its "
        "sender.",
        (contract.ChatMessage, contract.AgentError),
        (contract.RoutedMessage, contract.RoutingFailure, contract.AgentError),
    ),
    _Operation(
        "registerAgents",
        "receive",
        "metadata",
        "Register agents.",
        (contract.RegisterAgent,),
        (contract.RegisterAgentResponse,),
    ),
    _Operation(
        "disconnectAgents",
        "receive",
        "metadata",
        "Take agents offline.",
        (contract.ClientDisconnected,),
    ),
    _Operation(
        "learnOfServers",
        "receive",
        "advertisement",
        "Connect to the server at once, if the session is down.",
        (contract.ServerAvailable,),
    ),
    _Operation(
        "publishOutput",
        "send",
        "output",
        "Hand each routed message or failure to the central server.",
        (
            contract.RoutedMessage,
            contract.RoutingFailure,
            contract.AgentError,
            contract.RegisterAgentResponse,
        ),
    ),
    _Operation(
        "publishDeadLetters",
        "send",
        "deadLetter",
        "Dead-letter what the broker could not accept.",
        (),
    ),
    _Operation(
        "replicateChanges",
        "send",
        _REGISTRY,
        "Replicate to all brokers what this one learned from a queue that they share.",
        _REGISTRY_EVENTS,
    ),
    _Operation(
        "applyReplicatedChanges",
        "receive",
        _REGISTRY,
        "Apply what other brokers learned; the latest event about an agent wins.",
        _REGISTRY_EVENTS,
    ),
    _Operation(
        "registerBroker",
        "send",
        _WEBSOCKET,
        "Register with the central server, before anything else.",
        (contract.RegisterBroker,),
        (contract.RegisterBrokerResponse, contract.ServerError),
    ),
    _Operation(
        "requestAgentStatus",
        "send",
        _WEBSOCKET,
        "Ask which agents are online, at most once every five seconds.",
        (contract.RequestAgentStatus,),
        (contract.AgentStatusUpdate, contract.ServerError),
    ),
    _Operation(
        "learnAgentStatus",
        "receive",
        _WEBSOCKET,
        "Learn which agents are online.",
        (contract.AgentStatusUpdate,),
    ),
    _Operation(
        "answerHeartbeats",
        "receive",
        _WEBSOCKET,
        "Answer heartbeats at once.",
        (contract.Ping, contract.ServerHeartbeat),
        (contract.Pong,),
    ),
)


def asyncapi_document(settings: Settings) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of a broker; it shows no secret of the settings."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "agent-broker",
            "version": __version__,
            "description": _description(settings),
            "license": {"name": "MIT"},
        },
        "defaultContentType": _JSON,
        "servers": _servers(settings),
        "channels": _channels(settings),
        "operations": {operation.name: _operation(operation) for operation in _OPERATIONS},
        "components": _components(),
    }


def _description(settings: Settings) -> str:
    return (
        "Message broker and agent registry for multi-agent systems, as its peers see it: it "
        "receives what they send, and sends what they receive. Each AMQP body and each WebSocket "
        f"frame, text or binary, is one JSON object in UTF-8, nested at most {MAX_DEPTH} levels "
        "deep. An AMQP "
        f"body has at most {settings.broker_max_message_bytes} bytes. Fields that are not "
        "documented pass through as they are. Whatever a queue carries besides goes to the "
        "dead-letter queue."
    )


def _servers(settings: Settings) -> dict[str, Any]:
    servers: dict[str, Any] = {}
    endpoints = settings.amqp_endpoints
    for number, endpoint in enumerate(endpoints, start=1):
        servers["rabbitmq" if len(endpoints) == 1 else f"rabbitmq{number}"] = {
            "host": address(endpoint.host, endpoint.port),
            "protocol": "amqps" if endpoint.tls else "amqp",
            "protocolVersion": "0.9.1",
            "description": "RabbitMQ, default exchange",
        }
    url = urlsplit(settings.websocket_url)
    servers["central"] = {
        "host": address(url.hostname or "", url.port),
        "protocol": url.scheme,
        "description": "The central server",
    }
    return servers


def _channels(settings: Settings) -> dict[str, Any]:
    vhosts = {endpoint.vhost for endpoint in settings.amqp_endpoints}
    vhost = vhosts.pop() if len(vhosts) == 1 else None
    rabbitmq = [name for name in _servers(settings) if name.startswith("rabbitmq")]
    queues = {
        "input": settings.broker_input_queue,
        "metadata": (settings.broker_metadata_queue,),
        "advertisement": (settings.broker_advertisement_queue,),
        "output": settings.broker_output_queue,
        "deadLetter": (settings.broker_dead_letter_queue,),
    }
    channels = {name: _queue_channel(name, some, rabbitmq, vhost) for name, some in queues.items()}
    exchange = settings.broker_registry_exchange
    channels[_REGISTRY] = _channel(_REGISTRY, "", rabbitmq, {"amqp": _fanout(exchange, vhost)})
    path = urlsplit(settings.websocket_url).path or "/"
    channels[_WEBSOCKET] = _channel(
        _WEBSOCKET, path, ["central"], {"ws": {"method": "GET", "bindingVersion": "0.1.0"}}
    )
    return channels


def _channel(
    name: str, address: str, servers: Sequence[str], bindings: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "address": address,
        "servers": [{"$ref": f"#/servers/{server}"} for server in servers],
        "messages": {
            message: {"$ref": f"#/components/messages/{message}"} for message in _carried(name)
        },
        "bindings": dict(bindings),
    }


def _queue_channel(
    name: str, queues: Sequence[str], servers: Sequence[str], vhost: str | None
) -> dict[str, Any]:
    if len(queues) == 1:
        return _channel(name, queues[0], servers, {"amqp": _queue(queues[0], vhost)})
    channel = _channel(name, "{queue}", servers, {"amqp": _queue(None, vhost)})
    parameter = {"description": _CHOICES[name], "enum": list(queues)}
    return {**channel, "parameters": {"queue": parameter}}


def _queue(name: str | None, vhost: str | None) -> dict[str, Any]:
    # Missing ones are created like this; a queue that is there is used as it is.
    queue = {
        **_known(name=name),
        "durable": True,
        "exclusive": False,
        "autoDelete": False,
        **_known(vhost=vhost),
    }
    return {"is": "queue", "queue": queue, "bindingVersion": "0.3.0"}


def _fanout(name: str, vhost: str | None) -> dict[str, Any]:
    exchange = {
        "name": name,
        "type": "fanout",
        "durable": True,
        "autoDelete": False,
        **_known(vhost=vhost),
    }
    return {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}


def _known(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _carried(channel: str) -> Sequence[str]:
    names = []
    for operation in _OPERATIONS:
        if operation.channel == channel:
            names += _names(operation.messages) or [_DEAD_LETTER]
        if operation.reply_channel == channel:
            names += _names(operation.reply)
    return list(dict.fromkeys(names))


def _names(some: Sequence[contract.Declaration]) -> list[str]:
    return [message.__name__ for message in some]


def _operation(operation: _Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "action": operation.action,
        "channel": {"$ref": f"#/channels/{operation.channel}"},
        "summary": operation.summary,
        "messages": _references(operation.channel, _names(operation.messages) or [_DEAD_LETTER]),
    }
    if operation.channel != _WEBSOCKET:
        described["bindings"] = {"amqp": _amqp_operation(operation.action, operation.channel)}
    if operation.reply:
        described["reply"] = {
            "channel": {"$ref": f"#/channels/{operation.reply_channel}"},
            "messages": _references(operation.reply_channel, _names(operation.reply)),
        }
    return described


def _amqp_operation(action: str, channel: str) -> dict[str, Any]:
    if action == "receive":
        return {"ack": True, "bindingVersion": "0.3.0"}
    return {
        "deliveryMode": 2,
        "mandatory": channel != _REGISTRY,
        "timestamp": True,
        "bindingVersion": "0.3.0",
    }


def _references(channel: str, names: Sequence[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


def _components() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(
        [*EXAMPLES, DeadLetterHeaders], ref_template=f"{_SCHEMAS}{{name}}"
    )
    described = {
        message.__name__: _message(message, schemas[message.__name__], example)
        for message, example in EXAMPLES.items()
    }
    described[_DEAD_LETTER] = {
        "name": _DEAD_LETTER,
        "title": _DEAD_LETTER,
        "summary": "What the broker could not accept, byte for byte, and why.",
        "contentType": "application/octet-stream",
        "headers": {"$ref": f"{_SCHEMAS}{DeadLetterHeaders.__name__}"},
        "payload": {},
    }
    return {"messages": described, "schemas": schemas}


def _message(
    message: contract.Declaration, schema: Mapping[str, Any], example: object
) -> dict[str, Any]:
    name = message.__name__
    return {
        "name": name,
        "title": " or ".join(contract.message_types(message)),
        "summary": schema["description"],
        "contentType": _JSON,
        "payload": {"$ref": f"{_SCHEMAS}{name}"},
        "examples": [{"payload": example}],
    }
