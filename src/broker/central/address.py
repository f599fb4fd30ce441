"""Where the central server is, and what the handshake carries."""

import ssl
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from broker.net.tls import TlsFiles
from broker.settings import Settings
from broker.settings.secret_files import SecretFile

_SYSTEMS_TRUST = TlsFiles(settings="WEBSOCKET")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The central server's address.

    Attributes:
        token_file: Read again for each connection, if set; replaces `token`.
        subprotocols: Offered as `Sec-WebSocket-Protocol`, preferred first.
        tls: The files for `wss://`, read again for each connection.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    token_file: SecretFile | None = None
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    tls: TlsFiles = _SYSTEMS_TRUST
    max_message_bytes: int = 1 << 28

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings say of the server."""
        return cls(
            url=settings.websocket_url,
            token=settings.broker_websocket_token,
            token_file=settings.secret_file("BROKER_WEBSOCKET_TOKEN"),
            origin=settings.websocket_origin,
            subprotocols=settings.websocket_subprotocol,
            tls=settings.websocket_tls,
            max_message_bytes=settings.broker_websocket_max_bytes,
        )

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "wss"

    def read(self) -> tuple[str | None, ssl.SSLContext | None]:
        """Return the current token and TLS context. Blocks while it reads files.

        Raises:
            UnusableFileError: A file is missing or invalid.
        """
        token = self.token if self.token_file is None else self.token_file.read()
        return token, self.tls.context() if self.is_tls else None
