"""The settings themselves: every variable with its type, default and meaning."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from broker.endpoints import AmqpEndpoint, parse_amqp_urls, parse_hosts
from broker.settings.agreement import disagreements
from broker.settings.fields import (
    Agents,
    AmqpUrls,
    CertificateFile,
    FrameBytes,
    Hops,
    Hosts,
    LogFormat,
    LogLevel,
    MessageBytes,
    Password,
    Port,
    Prefetch,
    QueueName,
    ReadableFile,
    Seconds,
    SecondsOrNever,
    ShortText,
    Switch,
    Token,
    WebSocketUrl,
    wrong,
)
from broker.settings.secret_files import SecretFiles


class Settings(BaseSettings):
    """All settings of a broker, validated and frozen.

    Constructing it reads the environment and `.env` for what is not given; `load_settings` does
    the same and words the problems. Secrets are `SecretStr`: `repr()` does not show them.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",  # `.env` may serve other programs, and Kubernetes injects BROKER_PORT
        env_ignore_empty=True,
        env_file=".env",
        hide_input_in_errors=True,
    )

    rabbitmq_host: Hosts = Field(
        default="localhost",
        description="RabbitMQ's host, or several separated by commas, tried in turn.",
    )
    rabbitmq_port: Port = Field(
        default=5672,
        description="RabbitMQ's port; tcp://10.0.0.1:5672, as Kubernetes injects it, works too.",
    )
    rabbitmq_user: ShortText = Field(
        default="guest", description="User to log in to RabbitMQ with."
    )
    rabbitmq_password: Password = Field(
        default=SecretStr("guest"), description="Password to log in to RabbitMQ with."
    )
    rabbitmq_vhost: ShortText = Field(default="/", description="RabbitMQ's virtual host.")
    amqp_url: AmqpUrls | None = Field(
        default=None,
        description=(
            "amqp://user:password@host:port/vhost or amqps://..., or several separated by commas; "
            "overrides every RABBITMQ_* variable."
        ),
    )
    amqp_ca_file: CertificateFile | None = Field(
        default=None,
        description="CA certificates (PEM) to trust for amqps://, instead of the system's.",
    )
    amqp_cert_file: ReadableFile | None = Field(
        default=None, description="Client certificate (PEM) for amqps://, its key with it or apart."
    )
    amqp_key_file: ReadableFile | None = Field(
        default=None, description="Unencrypted private key (PEM) of the client certificate."
    )
    websocket_url: WebSocketUrl = Field(
        default="ws://localhost:8765/ws", description="The central server, ws:// or wss://."
    )
    websocket_ca_file: CertificateFile | None = Field(
        default=None,
        description="CA certificates (PEM) to trust for wss://, instead of the system's.",
    )
    broker_websocket_token: Token | None = Field(
        default=None, description="Sent to the central server as 'Authorization: Bearer ...'."
    )
    broker_follow_advertised_url: Switch = Field(
        default=False,
        description="Connect to the address that the central server advertises (true or false).",
    )
    broker_websocket_max_bytes: FrameBytes = Field(
        default=268_435_456, description="Largest WebSocket message to accept, in bytes."
    )
    broker_websocket_silence: Seconds = Field(
        default=45,
        description="Seconds without any frame before the WebSocket session counts as dead.",
    )
    broker_name: ShortText = Field(
        default="BrokerService", description="Name to register with at the central server."
    )
    broker_input_queue: QueueName = Field(
        default="broker_input_queue", description="Queue to consume chat messages from."
    )
    broker_output_queue: QueueName = Field(
        default="broker_output_queue",
        description="Queue to publish routed messages and answers to.",
    )
    broker_metadata_queue: QueueName = Field(
        default="agent_metadata_queue", description="Queue to consume registrations of agents from."
    )
    broker_advertisement_queue: QueueName = Field(
        default="server_advertisement_queue",
        description="Queue to consume server advertisements from.",
    )
    broker_dead_letter_queue: QueueName = Field(
        default="broker_dead_letter_queue", description="Queue to publish unacceptable messages to."
    )
    broker_prefetch: Prefetch = Field(
        default=1000, description="Unacknowledged deliveries to hold at once, per consumer."
    )
    broker_max_message_bytes: MessageBytes = Field(
        default=1_048_576, description="Larger message bodies are dead-lettered, in bytes."
    )
    broker_max_agents: Agents = Field(
        default=1_000_000, description="Agents to know at once; those offline make room for others."
    )
    broker_max_hops: Hops = Field(
        default=0,
        description="Messages that may answer each other in a row, before one is dead-lettered; "
        "0 = any number.",
    )
    broker_registry_ttl: SecondsOrNever = Field(
        default=60,
        description="Seconds without the central server before routing pauses; 0 = never.",
    )
    broker_shutdown_timeout: Seconds = Field(
        default=25, description="Seconds a graceful stop may take."
    )
    broker_log_level: LogLevel = Field(
        default="info", description="Least level to log: debug, info, warning, error or critical."
    )
    broker_log_format: LogFormat = Field(
        default="auto", description="json, console, or auto: console on a terminal, JSON otherwise."
    )

    @property
    def amqp_endpoints(self) -> tuple[AmqpEndpoint, ...]:
        """The RabbitMQ nodes to try in turn, at least one."""
        if self.amqp_url is not None:
            return parse_amqp_urls(self.amqp_url.get_secret_value())
        return tuple(
            AmqpEndpoint(
                host=host,
                port=self.rabbitmq_port,
                user=self.rabbitmq_user,
                password=self.rabbitmq_password.get_secret_value(),
                vhost=self.rabbitmq_vhost,
                tls=False,
            )
            for host in parse_hosts(self.rabbitmq_host)
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a directory of secrets
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Follow each level by its own `_FILE` variables; earlier sources win."""
        levels = (init_settings, env_settings, dotenv_settings)
        return tuple(
            source
            for level in levels
            for source in (SecretFiles(settings_cls, _given(level)), level)
        )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Check what concerns several variables at once, and report all of it."""
        if problems := list(disagreements(self)):
            raise wrong("\n".join(problems))
        return self


def _given(level: PydanticBaseSettingsSource) -> Mapping[str, Any]:
    match level:
        case EnvSettingsSource():  # `.env` is one, too
            return level.env_vars
        case InitSettingsSource():
            return level.init_kwargs
        case _:
            raise TypeError(f"unexpected source of settings: {level!r}")
