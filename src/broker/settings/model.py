"""The settings themselves: every variable with its type, default and meaning."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from broker.core.messages import MAX_BODY_BYTES
from broker.net.endpoints import AmqpEndpoint, parse_amqp_urls, parse_hosts
from broker.net.tls import TlsFiles
from broker.settings import values
from broker.settings.amqp_nodes import AmqpNodes
from broker.settings.secret_files import SecretFile
from broker.settings.setting import setting

_SECONDS = values.number("be a number of seconds, at least 1", 1)
_SECONDS_OR_NEVER = values.number("be a number of seconds, or 0 for never", 0)


@dataclass(frozen=True)
class Settings:
    """All settings of a broker, validated and frozen. Made by `load_settings`.

    `repr()` does not show secrets. Those of `secret_files` are read again for each connection.
    """

    rabbitmq_host: str = setting(
        "localhost",
        values.hosts,
        "RabbitMQ's host, or several separated by commas, tried in random order.",
    )
    rabbitmq_port: int = setting(
        5672,
        values.port,
        "RabbitMQ's port; tcp://10.0.0.1:5672, as Kubernetes injects it, works too.",
    )
    rabbitmq_user: str = setting("guest", values.short_text, "User to log in to RabbitMQ with.")
    rabbitmq_password: str = setting(
        "guest", values.password, "Password to log in to RabbitMQ with.", is_secret=True
    )
    rabbitmq_vhost: str = setting("/", values.short_text, "RabbitMQ's virtual host.")
    amqp_url: str | None = setting(
        None,
        values.amqp_urls,
        "amqp://user:password@host:port/vhost or amqps://..., or several separated by commas, "
        "tried in random order; overrides every RABBITMQ_* variable.",
        is_secret=True,
    )
    amqp_ca_file: Path | None = setting(
        None,
        values.certificate_file,
        "CA certificates (PEM) to trust for amqps://, instead of the system's.",
    )
    amqp_cert_file: Path | None = setting(
        None,
        values.readable_file,
        "Client certificate (PEM) for amqps://, with its key or separate; also the "
        "login, if AMQP_URL has none.",
    )
    amqp_key_file: Path | None = setting(
        None, values.readable_file, "Unencrypted private key (PEM) of the client certificate."
    )
    websocket_url: str = setting(
        "ws://localhost:8765/ws", values.websocket_url, "The central server, ws:// or wss://."
    )
    websocket_ca_file: Path | None = setting(
        None,
        values.certificate_file,
        "CA certificates (PEM) to trust for wss://, instead of the system's.",
    )
    websocket_origin: str | None = setting(
        None,
        values.origin,
        "Sent in the WebSocket handshake as 'Origin', for servers that require it.",
    )
    websocket_subprotocol: tuple[str, ...] = setting(
        (),
        values.subprotocols,
        "Subprotocol to offer in the WebSocket handshake, or several separated by commas, the "
        "preferred one first.",
    )
    broker_websocket_token: str | None = setting(
        None,
        values.bearer_token,
        "Sent to the central server as 'Authorization: Bearer ...'.",
        is_secret=True,
    )
    broker_follow_advertised_url: bool = setting(
        False,
        values.switch,
        "Connect to the address that the central server advertises (true or false).",
    )
    broker_websocket_max_bytes: int = setting(
        268_435_456,
        values.whole_number(
            "be a whole number of bytes from 1024 to 2147483647", 1024, 2_147_483_647
        ),
        "Largest WebSocket message to accept, in bytes.",
    )
    broker_websocket_silence: float = setting(
        45.0, _SECONDS, "Seconds without any frame before the WebSocket session counts as dead."
    )
    broker_name: str = setting(
        "BrokerService", values.short_text, "Name to register with at the central server."
    )
    broker_input_queue: tuple[str, ...] = setting(
        ("broker_input_queue",),
        values.queue_names,
        "Queue to consume chat messages from, or several separated by commas.",
    )
    broker_output_queue: tuple[str, ...] = setting(
        ("broker_output_queue",),
        values.queue_names,
        "Queue to publish routed messages and answers to, or several separated by commas, "
        "the same list at every broker: all messages for an agent go to one of them.",
    )
    broker_metadata_queue: str = setting(
        "agent_metadata_queue", values.queue_name, "Queue to consume registrations of agents from."
    )
    broker_advertisement_queue: str = setting(
        "server_advertisement_queue",
        values.queue_name,
        "Queue to consume server advertisements from.",
    )
    broker_dead_letter_queue: str = setting(
        "broker_dead_letter_queue", values.queue_name, "Queue to publish dead letters to."
    )
    broker_registry_exchange: str = setting(
        "broker_registry_events",
        values.exchange_name,
        "Fanout exchange through which brokers replicate registry changes.",
    )
    broker_prefetch: int = setting(
        1000,
        values.whole_number("be a whole number from 1 to 65535 (AMQP's 16 bits)", 1, 65_535),
        "Unacknowledged deliveries to hold at once, per consumer.",
    )
    broker_max_message_bytes: int = setting(
        1_048_576,
        values.whole_number(
            f"be a whole number of bytes from 1 to {MAX_BODY_BYTES} (RabbitMQ's own limit)",
            1,
            MAX_BODY_BYTES,
        ),
        "Larger message bodies are dead-lettered, in bytes; stay 1 kB below the max_message_size "
        "of RabbitMQ, as routing adds a receiver.",
    )
    broker_max_agents: int = setting(
        1_000_000,
        values.whole_number("be a whole number of agents, at least 1", 1, math.inf),
        "Agents to know at once; offline ones make room for new ones.",
    )
    broker_max_hops: int = setting(
        0,
        values.whole_number("be a whole number of messages, or 0 for any number", 0, math.inf),
        "Messages that may answer each other in a row, before one is dead-lettered; "
        "0 = any number.",
    )
    broker_routing_policy: str = setting(
        "random",
        values.routing_policy,
        "How the receiver of a message is chosen: random, least_outstanding, consistent_hash, or "
        "package.module:name for a policy of your own, installed, on PYTHONPATH or in the working "
        "directory.",
    )
    broker_receiver: str = setting(
        "ignore",
        values.one_of("ignore", "prefer", "require"),
        "What the receiver_id of a message means: ignore it, prefer that agent, or require it.",
    )
    broker_hold: float = setting(
        0.0,
        values.number("be a number of seconds, or 0 for not at all", 0),
        "Seconds to hold a message that nobody can receive, before its sender gets an ERROR; "
        "0 = not at all.",
    )
    broker_hold_queue: str = setting(
        "broker_hold_queue", values.queue_name, "Queue to hold such messages in."
    )
    broker_answer_timeout: float = setting(
        300.0,
        _SECONDS,
        "Seconds after which a routing policy waits no longer for the answer to a message.",
    )
    broker_max_unanswered: int = setting(
        100_000,
        values.whole_number("be a whole number of messages, at least 1", 1, math.inf),
        "Unanswered messages that a routing policy keeps in mind; the oldest make room.",
    )
    broker_registry_ttl: float = setting(
        60.0,
        _SECONDS_OR_NEVER,
        "Seconds without the central server before routing pauses; 0 = never.",
    )
    broker_shutdown_timeout: float = setting(25.0, _SECONDS, "Seconds a graceful stop may take.")
    broker_http_host: str = setting(
        "127.0.0.1",
        values.host,
        "Address to serve probes, metrics and the status page on; :: = any, 0.0.0.0 = any IPv4.",
    )
    broker_http_port: int | None = setting(
        9780,
        values.port_or_off,  # type: ignore[arg-type]  # mypy takes T from the default alone
        "Port to serve them on; 0 = any free one, off = none.",
    )
    broker_log_level: str = setting(
        "info",
        values.one_of("debug", "info", "warning", "error", "critical"),
        "Least level to log: debug, info, warning, error or critical.",
    )
    broker_log_format: str = setting(
        "auto",
        values.one_of("json", "console", "auto"),
        "json, console, or auto: console on a terminal, JSON otherwise.",
    )

    secret_files: tuple[SecretFile, ...] = field(default=(), compare=False)

    @property
    def amqp_nodes(self) -> AmqpNodes:
        """The RabbitMQ nodes, as their secret files have them."""
        return AmqpNodes(
            self.amqp_endpoints,
            url_file=self.secret_file("AMQP_URL"),
            password_file=None if self.amqp_url else self.secret_file("RABBITMQ_PASSWORD"),
            needs_tls=self.amqp_tls != TlsFiles(),
            has_certificate=self.amqp_cert_file is not None,
        )

    @property
    def amqp_tls(self) -> TlsFiles:
        """The files for `amqps://`."""
        return TlsFiles(self.amqp_ca_file, self.amqp_cert_file, self.amqp_key_file)

    @property
    def websocket_tls(self) -> TlsFiles:
        """The files for `wss://`."""
        return TlsFiles(self.websocket_ca_file, settings="WEBSOCKET")

    def secret_file(self, variable: str) -> SecretFile | None:
        """Return the file of a secret, if it is in one that is read again."""
        return next((file for file in self.secret_files if file.variable == variable), None)

    @property
    def amqp_endpoints(self) -> tuple[AmqpEndpoint, ...]:
        """The RabbitMQ nodes to choose from, at least one, as they are at the start."""
        if self.amqp_url is not None:
            return parse_amqp_urls(self.amqp_url, has_certificate=self.amqp_cert_file is not None)
        return tuple(
            AmqpEndpoint(
                host=host,
                port=self.rabbitmq_port,
                user=self.rabbitmq_user,
                password=self.rabbitmq_password,
                vhost=self.rabbitmq_vhost,
                tls=False,
            )
            for host in parse_hosts(self.rabbitmq_host)
        )
