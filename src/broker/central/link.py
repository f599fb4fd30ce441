"""The link to the central server: session after session, with pauses between them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from urllib.parse import urlsplit

import structlog
import trio
from trio_websocket import WebSocketConnection

from broker.central.address import ServerAddress
from broker.central.session import CentralSession, SessionTerms
from broker.central.websocket import MessageTooBigError, WebSocketError, open_websocket
from broker.concurrency.wakeup import Wakeup
from broker.core.messages import ServerAvailable, ServerLost, ServerNews
from broker.net.backoff import Backoff
from broker.telemetry.connectivity import Connectivity
from broker.telemetry.tally import ServerTally

_LEAST_INTERVAL = 1.0
"""Seconds between the starts of two sessions, however often a server advertises itself."""

_log = structlog.get_logger(__name__)


class CentralLink:
    """Keeps a session with the central server.

    Args:
        broker_id: What the broker calls itself until the server names it.
        follow_advertised_url: Whether to connect to the URL that a server advertises.
    """

    def __init__(
        self,
        address: ServerAddress,
        terms: SessionTerms,
        *,
        broker_id: str,
        follow_advertised_url: bool,
        backoff: Backoff,
        tally: ServerTally,
        open_websocket: Callable[
            [ServerAddress], AbstractAsyncContextManager[WebSocketConnection]
        ] = open_websocket,
    ) -> None:
        self._configured = self._address = address
        self._terms = terms
        self._broker_id = broker_id
        self._follow_advertised_url = follow_advertised_url
        self._backoff = backoff
        self._tally = tally
        self._open_websocket = open_websocket
        self._shown_url = _without_secrets(address.url)
        self.connectivity = Connectivity(self._shown_url)
        self._status_wanted = Wakeup()
        self._server_available = Wakeup()

    def want_status(self) -> None:
        """Ask the server for a status update soon. Does not wait."""
        self._status_wanted.set()

    def status_answered(self) -> None:
        """Drop a request that waits: a status update has answered it."""
        self._status_wanted.clear()

    def server_available(self, advertisement: ServerAvailable) -> None:
        """End a pause between sessions at once: a server advertised itself."""
        url = advertisement.websocket_url
        shown_url = None if url is None else _without_secrets(url)
        _log.info("server_advertised", server_id=advertisement.server_id, websocket_url=shown_url)
        if self._follow_advertised_url:
            self._follow(url)
        self._server_available.set()

    def _follow(self, url: str | None) -> None:
        if url is None or not _is_websocket_url(url):
            _log.warning("advertised_url_ignored", reason="not a WebSocket URL")
        elif self._configured.is_tls and not replace(self._configured, url=url).is_tls:
            # A message in a queue must not make the broker send the token in the clear.
            _log.warning("advertised_url_ignored", reason="not wss:// like WEBSOCKET_URL")
        else:
            self._address = replace(self._configured, url=url)

    async def run(self, send_news: trio.MemorySendChannel[ServerNews]) -> None:
        """Keep a session until cancelled. On cancellation it is closed within a second.

        Each session waits while the router, to which the news go, is busy.
        """
        while True:
            started = trio.current_time()
            error, was_accepted = await self._live(send_news)
            self.connectivity.lost(str(error))
            pause = self._pause(error, trio.current_time() - started)
            advice = getattr(error, "advice", None)
            _log.warning(
                "server_lost" if was_accepted else "server_unavailable",
                url=self._shown_url,
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

    async def _live(self, send_news: trio.MemorySendChannel[ServerNews]) -> tuple[Exception, bool]:
        """Run one session, and return why it ended, and whether the server had accepted it."""
        address = self._address
        session: CentralSession | None = None
        is_accepted = False
        error: Exception = WebSocketError("the connection was lost")
        try:
            self._shown_url = _without_secrets(address.url)
            self.connectivity.connecting(self._shown_url)
            _log.debug("server_connecting", url=self._shown_url)
            async with self._open_websocket(address) as websocket, trio.open_nursery() as nursery:
                session = CentralSession(
                    websocket,
                    self._terms,
                    broker_id=self._broker_id,
                    send_news=send_news,
                    status_wanted=self._status_wanted,
                    tally=self._tally,
                )
                await nursery.start(session.run)
                is_accepted = True
                self.connectivity.connected()
        except WebSocketError as lost:
            error = lost
        except Exception as failure:  # noqa: BLE001 - it ends the session, not the service
            _log.exception("session_failed")
            error = failure
        if session is not None:
            self._broker_id = session.broker_id
            # After all other news of the session: its tasks have ended.
            await send_news.send(ServerLost())
        if not is_accepted and self._address is address:
            # The advertised server does not accept the broker: return to the configured one.
            self._address = self._configured
        return error, is_accepted


def _is_websocket_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _without_secrets(url: str) -> str:
    """Strip credentials and the query, which may hold a ticket, before logging."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "no URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
