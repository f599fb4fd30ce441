"""The link to the central server: session after session, with pauses between them."""

from dataclasses import replace
from urllib.parse import urlsplit

import structlog
import trio

from broker.central.outbox import Outbox
from broker.central.session import CentralSession
from broker.central.websocket import (
    MessageTooBigError,
    ServerAddress,
    WebSocketError,
    open_websocket,
)
from broker.concurrency.wakeup import Wakeup
from broker.core.messages import ServerAvailable, ServerLost
from broker.net.backoff import Backoff
from broker.router.mailbox import Mailbox
from broker.telemetry.connectivity import Connectivity
from broker.telemetry.tally import ServerTally

_LEAST_INTERVAL = 1.0
"""Seconds between the beginnings of two sessions, however often a server advertises itself."""

_log = structlog.get_logger(__name__)


class CentralLink:
    """Keeps a session with the central server.

    Attributes:
        connectivity: What is known of the connection.

    Args:
        address: The server.
        broker_id: What the broker calls itself until the server names it.
        broker_name: The name it registers with.
        silence: Seconds without any frame after which a session counts as dead.
        follow_advertised_url: Whether to connect where a server says it is.
        backoff: The pauses between sessions.
        tally: Counts what the server sends in vain.
    """

    def __init__(
        self,
        address: ServerAddress,
        *,
        broker_id: str,
        broker_name: str,
        silence: float,
        follow_advertised_url: bool,
        backoff: Backoff,
        tally: ServerTally,
    ) -> None:
        self._configured = self._address = address
        self._broker_id = broker_id
        self._broker_name = broker_name
        self._silence = silence
        self._follow_advertised_url = follow_advertised_url
        self._backoff = backoff
        self._tally = tally
        self.connectivity = Connectivity(_without_secrets(address.url))
        self._outbox = Outbox()
        self._status_wanted = Wakeup()
        self._server_available = Wakeup()

    def want_status(self) -> None:
        """Ask the server for a status update soon. Does not wait."""
        self._status_wanted.set()

    def status_answered(self) -> None:
        """Take note that a status update told what was wanted: a request that waits is dropped."""
        self._status_wanted.clear()

    def server_available(self, advertisement: ServerAvailable) -> None:
        """Take note that a server advertised itself: a pause between sessions ends at once."""
        _log.info(
            "server_available",
            server_id=advertisement.server_id,
            websocket_url=(
                None
                if advertisement.websocket_url is None
                else _without_secrets(advertisement.websocket_url)
            ),
        )
        if self._follow_advertised_url:
            self._follow(advertisement.websocket_url)
        self._server_available.set()

    def _follow(self, url: str | None) -> None:
        if url is None or not _is_websocket_url(url):
            _log.warning("advertised_url_ignored", reason="it is no WebSocket URL")
        elif self._configured.is_tls and not replace(self._configured, url=url).is_tls:
            # The token must not leave in the clear because somebody says so in a queue.
            _log.warning("advertised_url_ignored", reason="it is not wss://, as configured")
        else:
            self._address = replace(self._configured, url=url)

    async def run(self, mailbox: Mailbox) -> None:
        """Keep a session until cancelled. On cancellation it is closed within a second.

        Args:
            mailbox: The router's.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._outbox.forward, mailbox)
            while True:
                started = trio.current_time()
                error = await self._live()
                self.connectivity.lost(str(error))
                pause = self._pause(error, trio.current_time() - started)
                advice = getattr(error, "advice", None)
                _log.warning(
                    "server_lost",
                    error=str(error),
                    **({} if advice is None else {"advice": advice}),
                    retry_in_seconds=round(pause, 1),
                )
                self._server_available.clear()
                with trio.move_on_after(pause):
                    await self._server_available.wait()
                    await trio.sleep_until(started + _LEAST_INTERVAL)

    def _pause(self, error: Exception, lifetime: float) -> float:
        if isinstance(error, MessageTooBigError):
            self._tally.too_big += 1
            return self._backoff.longest()
        return self._backoff.after(lifetime)

    async def _live(self) -> Exception:
        address = self._address
        session: CentralSession | None = None
        try:
            shown_url = _without_secrets(address.url)
            self.connectivity.connecting(shown_url)
            _log.debug("server_connecting", url=shown_url)
            async with open_websocket(address) as websocket:
                session = CentralSession(
                    websocket,
                    outbox=self._outbox,
                    status_wanted=self._status_wanted,
                    broker_id=self._broker_id,
                    broker_name=self._broker_name,
                    silence=self._silence,
                    registered=self.connectivity.connected,
                    tally=self._tally,
                )
                await session.run()
        except WebSocketError as error:
            return error
        except Exception as error:  # noqa: BLE001 - it ends the session, never the service
            _log.exception("session_failed")
            return error
        finally:
            if session is not None:
                self._broker_id = session.broker_id
                self._outbox.put(ServerLost())
            is_accepted = session is not None and session.is_registered
            if not is_accepted and self._address is address:
                # No server of ours at an advertised address: back to the one that was configured.
                self._address = self._configured
        return WebSocketError("the connection was lost")


def _is_websocket_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _without_secrets(url: str) -> str:
    """Return a URL up to its path: a query may hold a ticket, and a login is none of the log's."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "no URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
