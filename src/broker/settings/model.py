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

    `repr()` does not show secrets.

    Attributes:
        secret_files: The files of secrets that are read again for each connection.
    """

    rabbitmq_host: str = setting(
        values.hosts,
        default="localhost",
        description="RabbitMQ's host, or several separated by commas, tried in random order.",
    )
    rabbitmq_port: int = setting(
        values.port,
        default=5672,
        description="RabbitMQ's port; tcp://10.0.0.1:5672, as Kubernetes injects it, works too.",
    )
    rabbitmq_user: str = setting(
        values.short_text, default="guest", description="User to log in to RabbitMQ with."
    )
    rabbitmq_password: str = setting(
        values.password,
        default="guest",
        description="Password to log in to RabbitMQ with.",
        is_secret=True,
    )
    rabbitmq_vhost: str = setting(
        values.short_text, default="/", description="RabbitMQ's virtual host."
    )
    amqp_url: str | None = setting(
        values.amqp_urls,
        default=None,
        description=(
            "amqp://user:password@host:port/vhost or amqps://..., or several separated by commas, "
            "tried in random order; overrides every RABBITMQ_* variable."
        ),
        is_secret=True,
    )
    amqp_ca_file: Path | None = setting(
        values.certificate_file,
        default=None,
        description="CA certificates (PEM) to trust for amqps://, instead of the system's.",
    )
    amqp_cert_file: Path | None = setting(
        values.readable_file,
        default=None,
        description="Client certificate (PEM) for amqps://, with its key or separate; also the "
        "login, if AMQP_URL has none.",
    )
    amqp_key_file: Path | None = setting(
        values.readable_file,
        default=None,
        description="Unencrypted private key (PEM) of the client certificate.",
    )
    websocket_url: str = setting(
        values.websocket_url,
        default="ws://localhost:8765/ws",
        description="The central server, ws:// or wss://.",
    )
    websocket_ca_file: Path | None = setting(
        values.certificate_file,
        default=None,
        description="CA certificates (PEM) to trust for wss://, instead of the system's.",
    )
    websocket_origin: str | None = setting(
        values.origin,
        default=None,
        description="Sent in the WebSocket handshake as 'Origin', for servers that require it.",
    )
    websocket_subprotocol: tuple[str, ...] = setting(
        values.subprotocols,
        default=(),
        description=(
            "Subprotocol to offer in the WebSocket handshake, or several separated by commas, the "
            "preferred one first."
        ),
    )
    broker_websocket_token: str | None = setting(
        values.bearer_token,
        default=None,
        description="Sent to the central server as 'Authorization: Bearer ...'.",
        is_secret=True,
    )
    broker_follow_advertised_url: bool = setting(
        values.switch,
        default=False,
        description="Connect to the address that the central server advertises (true or false).",
    )
    broker_websocket_max_bytes: int = setting(
        values.whole_number(
            "be a whole number of bytes from 1024 to 2147483647", 1024, 2_147_483_647
        ),
        default=268_435_456,
        description="Largest WebSocket message to accept, in bytes.",
    )
    broker_websocket_silence: float = setting(
        _SECONDS,
        default=45.0,
        description="Seconds without any frame before the WebSocket session counts as dead.",
    )
    broker_name: str = setting(
        values.short_text,
        default="BrokerService",
        description="Name to register with at the central server.",
    )
    broker_input_queue: tuple[str, ...] = setting(
        values.queue_names,
        default=("broker_input_queue",),
        description="Queue to consume chat messages from, or several separated by commas.",
    )
    broker_output_queue: tuple[str, ...] = setting(
        values.queue_names,
        default=("broker_output_queue",),
        description=(
            "Queue to publish routed messages and answers to, or several separated by commas, "
            "the same list at every broker: all messages for an agent go to one of them."
        ),
    )
    broker_metadata_queue: str = setting(
        values.queue_name,
        default="agent_metadata_queue",
        description="Queue to consume registrations of agents from.",
    )
    broker_advertisement_queue: str = setting(
        values.queue_name,
        default="server_advertisement_queue",
        description="Queue to consume server advertisements from.",
    )
    broker_dead_letter_queue: str = setting(
        values.queue_name,
        default="broker_dead_letter_queue",
        description="Queue to publish dead letters to.",
    )
    broker_registry_exchange: str = setting(
        values.exchange_name,
        default="broker_registry_events",
        description="Fanout exchange through which brokers replicate registry changes.",
    )
    broker_prefetch: int = setting(
        values.whole_number("be a whole number from 1 to 65535 (AMQP's 16 bits)", 1, 65_535),
        default=1000,
        description="Unacknowledged deliveries to hold at once, per consumer.",
    )
    broker_max_message_bytes: int = setting(
        values.whole_number(
            f"be a whole number of bytes from 1 to {MAX_BODY_BYTES} (RabbitMQ's own limit)",
            1,
            MAX_BODY_BYTES,
        ),
        default=1_048_576,
        description="Larger message bodies are dead-lettered, in bytes.",
    )
    broker_max_agents: int = setting(
        values.whole_number("be a whole number of agents, at least 1", 1, math.inf),
        default=1_000_000,
        description="Agents to know at once; offline ones make room for new ones.",
    )
    broker_max_hops: int = setting(
        values.whole_number("be a whole number of messages, or 0 for any number", 0, math.inf),
        default=0,
        description="Messages that may answer each other in a row, before one is dead-lettered; "
        "0 = any number.",
    )
    broker_registry_ttl: float = setting(
        _SECONDS_OR_NEVER,
        default=60.0,
        description="Seconds without the central server before routing pauses; 0 = never.",
    )
    broker_shutdown_timeout: float = setting(
        _SECONDS, default=25.0, description="Seconds a graceful stop may take."
    )
    broker_http_host: str = setting(
        values.host,
        default="127.0.0.1",
        description="Address to serve probes, metrics and the status page on; 0.0.0.0 = any.",
    )
    broker_http_port: int | None = setting(
        values.port_or_off,  # type: ignore[arg-type]  # mypy takes T from the default alone
        default=9780,
        description="Port to serve them on; 0 = any free one, off = none.",
    )
    broker_log_level: str = setting(
        values.one_of("debug", "info", "warning", "error", "critical"),
        default="info",
        description="Least level to log: debug, info, warning, error or critical.",
    )
    broker_log_format: str = setting(
        values.one_of("json", "console", "auto"),
        default="auto",
        description="json, console, or auto: console on a terminal, JSON otherwise.",
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
