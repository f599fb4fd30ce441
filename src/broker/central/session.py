"""One session with the central server: register, listen, answer.

A status update passes through two channels. The listener answers heartbeats, so it waits for
nobody: it puts updates into the backlog. The decoding task takes them from there, and waits until
the router receives them.
"""

from dataclasses import dataclass

import structlog
import trio
from trio_websocket import WebSocketConnection

from broker.central.backlog import Backlog
from broker.central.websocket import WebSocketError
from broker.concurrency.cooperation import let_others_run
from broker.concurrency.wakeup import Wakeup
from broker.core import codec
from broker.core.agent_ids import is_agent_id
from broker.core.messages import BrokerRegistered, Fields, Rejected, ServerNews, StatusUpdate
from broker.core.status_update import decoding_status_update
from broker.telemetry.logs import log_as
from broker.telemetry.tally import ServerTally

_UNSENT_MESSAGES = 100
"""With this many unsent, the server does not read."""
_LARGE = 1 << 20
"""Bytes; one pass over that many blocks everything else for a millisecond."""
_MOST_REPORTED = 100
"""Kinds of ignored frames that are logged per session."""
_SHOWN_CHARACTERS = 100
_SHOWN_REASON_CHARACTERS = 200
_PINGS_PER_SILENCE = 3
_MAX_ID_BYTES = 255
"""Each published message carries the id as `app_id`; a longer one could not be sent."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """What all sessions of a broker share. Times are in seconds.

    Attributes:
        silence: Time without any frame after which the session counts as dead.
        status_interval: Shortest time between two requests for a status update.
        max_backlog_bytes: Limit for all updates that wait to be decoded.
    """

    broker_name: str
    silence: float
    register_timeout: float = 10.0
    send_timeout: float = 10.0
    status_interval: float = 5.0
    max_backlog_bytes: int = 1 << 28


class CentralSession:
    """A session on an open WebSocket.

    Attributes:
        broker_id: The id that the server assigned, or the initial one until then.

    Args:
        websocket: Open; the caller closes it.
        send_news: Leads to the router. The session stays responsive while the router is busy.
        status_wanted: Set when the registry lacks an agent.
    """

    def __init__(
        self,
        websocket: WebSocketConnection,
        terms: SessionTerms,
        *,
        broker_id: str,
        send_news: trio.MemorySendChannel[ServerNews],
        status_wanted: Wakeup,
        tally: ServerTally,
    ) -> None:
        self._websocket = websocket
        self._terms = terms
        self._send_news = send_news
        self._status_wanted = status_wanted
        self._tally = tally
        self._send, self._unsent = trio.open_memory_channel[str](_UNSENT_MESSAGES)
        self._backlog = Backlog[BrokerRegistered | Fields](terms.max_backlog_bytes)
        self._registered = trio.Event()
        self._last_frame = trio.current_time()
        self._reported: set[str] = set()
        self.broker_id = broker_id

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Register, listen and answer, until cancelled or until the session is lost.

        Started once the server has accepted the broker.

        Raises:
            WebSocketError: Lost, refused or silent; possibly in an exception group.
            trio_websocket.ConnectionClosed: The server closed it; likewise.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._listen)
            nursery.start_soon(self._decode)
            nursery.start_soon(self._watch_silence)
            nursery.start_soon(self._ping)
            self._answer(codec.encode_register_broker(self._terms.broker_name))
            timeout = self._terms.register_timeout
            with trio.move_on_after(timeout):
                await self._registered.wait()
            if not self._registered.is_set():
                raise WebSocketError(f"no answer to the registration in {timeout:g} s")
            task_status.started()
            await self._request_status()

    def _answer(self, text: str) -> None:
        try:
            self._send.send_nowait(text)
        except trio.WouldBlock:
            raise WebSocketError("the server does not read what the broker sends") from None

    async def _write(self) -> None:
        # The only writer: a message cancelled halfway would garble the next one.
        async for text in self._unsent:
            timeout = self._terms.send_timeout
            with trio.move_on_after(timeout) as sending:
                await self._websocket.send_message(text)
            if sending.cancelled_caught:
                raise WebSocketError(f"a message could not be sent within {timeout:g} s")

    async def _listen(self) -> None:
        while True:
            message = await self._websocket.get_message()
            self._last_frame = trio.current_time()
            await _pause_if_large(len(message))
            frame = codec.decode_frame(message)
            if isinstance(frame, Rejected):
                self._tally.ignored[frame.reason.value] += 1
                if self._is_first(frame.reason):
                    _log.warning("frame_ignored", reason=frame.reason.value, error=frame.error)
            else:
                self._handle(*frame, size=len(message))

    def _handle(self, message_type: str, fields: Fields, size: int) -> None:
        match message_type:
            case "PING" | "SERVER_HEARTBEAT":
                self._answer(codec.encode_pong(self.broker_id))
            case "AGENT_STATUS_UPDATE":
                self._backlog.put(fields, size)
            case "REGISTER_BROKER_RESPONSE":
                self._handle_response(fields)
            case "ERROR" if not self._registered.is_set():
                raise WebSocketError(f"the server refused the broker: {_text(fields)}")
            case "ERROR":
                # A server without REQUEST_AGENT_STATUS answers this, for example.
                _log.debug("server_error", error=_text(fields))
            case _:
                self._handle_unknown(message_type)

    async def _decode(self) -> None:
        while True:
            heard = await self._backlog.take()
            if isinstance(heard, BrokerRegistered):
                await self._send_news.send(heard)
                continue
            update = await _decode_update(heard)
            if isinstance(update, Rejected):
                self._tally.ignored[update.reason.value] += 1
                _log.warning("status_update_ignored", error=update.error)
            else:
                await self._send_news.send(update)

    def _handle_response(self, fields: Fields) -> None:
        status = codec.string_field(fields, "status")
        if status != "success":
            raise WebSocketError(f"the server refused the broker: {_text(fields)}")
        broker_id = codec.string_field(fields, "broker_id") or self.broker_id
        if not is_agent_id(broker_id) or len(broker_id.encode()) > _MAX_ID_BYTES:
            _log.warning("broker_id_unusable", max_bytes=_MAX_ID_BYTES)
            broker_id = self.broker_id
        # Lines before this one have the previous id.
        renamed = {} if broker_id == self.broker_id else {"previous_id": self.broker_id}
        self.broker_id = broker_id
        self._backlog.put(BrokerRegistered(self.broker_id), 0)
        self._registered.set()
        log_as(self.broker_id)
        _log.info("registered", broker_id=self.broker_id, **renamed)

    def _handle_unknown(self, message_type: str) -> None:
        self._tally.ignored["unknown_type"] += 1
        if self._is_first(message_type[:_SHOWN_CHARACTERS]):
            _log.info("frame_type_unknown", message_type=message_type[:_SHOWN_CHARACTERS])

    def _is_first(self, kind: str) -> bool:
        # Each kind once per session: a server that sends garbage must not flood the log.
        if kind in self._reported or len(self._reported) >= _MOST_REPORTED:
            return False
        self._reported.add(kind)
        return True

    async def _watch_silence(self) -> None:
        # One wake-up per silence is cheaper than an event per frame.
        silence = self._terms.silence
        while trio.current_time() < (deadline := self._last_frame + silence):  # noqa: ASYNC110
            await trio.sleep_until(deadline)
        raise WebSocketError(f"no frame for {silence:g} s")

    async def _ping(self) -> None:
        # The pong counts as a frame: an idle session stays alive, and a half-open one is detected.
        while True:
            await trio.sleep(self._terms.silence / _PINGS_PER_SILENCE)
            await self._websocket.ping()
            self._last_frame = trio.current_time()

    async def _request_status(self) -> None:
        while True:
            self._status_wanted.clear()
            self._answer(codec.encode_request_agent_status(self.broker_id))
            await trio.sleep(self._terms.status_interval)
            await self._status_wanted.wait()


async def _decode_update(fields: Fields) -> StatusUpdate | Rejected:
    await _pause_if_large(sum(len(memoryview(value)) for value in fields.values()))
    decoding = decoding_status_update(fields)
    while True:
        try:
            next(decoding)
        except StopIteration as decoded:
            update: StatusUpdate | Rejected = decoded.value
            return update
        # A hundred thousand agents take more than 0.1 s; everything else must go on meanwhile.
        await let_others_run()


async def _pause_if_large(size: int) -> None:
    # A large frame is joined, parsed and split into its agents. Each step blocks for about a
    # millisecond per megabyte; without a pause, chat messages would wait for the sum.
    if size > _LARGE:
        await let_others_run()


def _text(fields: Fields) -> str:
    names = ("text_payload", "message", "error", "reason", "status")
    texts = (codec.string_field(fields, name) for name in names)
    text = next(filter(None, texts), "no reason given")
    return text[:_SHOWN_REASON_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")
