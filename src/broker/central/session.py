"""One session with the central server: register, listen, answer.

Three tasks pass on what is heard: the listener answers and never waits, the backlog holds what it
has heard, and the task that decodes waits until the router takes what it decoded.
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
from broker.telemetry.tally import ServerTally

_UNSENT_MESSAGES = 100
"""A server that lets this many answers pile up does not read."""
_LARGE = 1 << 20
"""Bytes; what takes one pass over so many holds up everything else for a millisecond."""
_MOST_REPORTED = 100
"""Kinds of frames that one session reports as ignored."""
_SHOWN_CHARACTERS = 100
_SHOWN_REASON_CHARACTERS = 200
_PINGS_PER_SILENCE = 3
_MAX_ID_BYTES = 255
"""The id goes along with each publishing as `app_id`; with a longer one, none could be sent."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """What all sessions of a broker have in common. Times are in seconds.

    Attributes:
        broker_name: The name it registers with.
        silence: Time without any frame after which the session counts as dead.
        register_timeout: Time that the server has to answer the registration.
        send_timeout: Time that a message may take to leave.
        status_interval: Time between two requests for a status update.
        max_backlog_bytes: Of the updates that wait to be decoded.
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
        broker_id: What the broker calls itself: the id it was given, until the server names it.

    Args:
        websocket: The open WebSocket.
        terms: Names and limits.
        broker_id: See above.
        send_news: Takes what the router must know, and makes the session wait for the router.
        status_wanted: Set when the registry lacks an agent.
        tally: Counts what the server sends in vain.
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

        Args:
            task_status: Started once the server has accepted the broker.

        Raises:
            WebSocketError: Lost, refused or silent; possibly inside of an exception group.
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
            raise WebSocketError("the server does not read what it is sent") from None

    async def _write(self) -> None:
        # The only writer: a message that is cancelled halfway would garble the next one.
        async for text in self._unsent:
            timeout = self._terms.send_timeout
            with trio.move_on_after(timeout) as sending:
                await self._websocket.send_message(text)
            if sending.cancelled_caught:
                raise WebSocketError(f"a message did not leave within {timeout:g} s")

    async def _listen(self) -> None:
        while True:
            message = await self._websocket.get_message()
            self._last_frame = trio.current_time()
            await _pause_if_large(len(message))
            frame = codec.decode_frame(message)
            if isinstance(frame, Rejected):
                self._tally.ignored[frame.reason.value] += 1
                if self._is_news(frame.reason):
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
                # For one, a server that does not know REQUEST_AGENT_STATUS says so.
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
        if is_agent_id(broker_id) and len(broker_id.encode()) <= _MAX_ID_BYTES:
            self.broker_id = broker_id
        else:
            _log.warning("broker_id_unusable", max_bytes=_MAX_ID_BYTES)
        self._backlog.put(BrokerRegistered(self.broker_id), 0)
        self._registered.set()
        _log.info("registered", broker_id=self.broker_id)

    def _handle_unknown(self, message_type: str) -> None:
        self._tally.ignored["unknown_type"] += 1
        if self._is_news(message_type[:_SHOWN_CHARACTERS]):
            _log.info("frame_type_unknown", message_type=message_type[:_SHOWN_CHARACTERS])

    def _is_news(self, what: str) -> bool:
        # Each once a session: a server that sends nothing but rubbish must not flood the log.
        if what in self._reported or len(self._reported) >= _MOST_REPORTED:
            return False
        self._reported.add(what)
        return True

    async def _watch_silence(self) -> None:
        # One wake-up a silence is cheaper than an event for each frame.
        silence = self._terms.silence
        while trio.current_time() < (deadline := self._last_frame + silence):  # noqa: ASYNC110
            await trio.sleep_until(deadline)
        raise WebSocketError(f"no frame for {silence:g} s")

    async def _ping(self) -> None:
        # The pong counts as a frame, so an idle session stays, and a half-open connection shows.
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
        # A hundred thousand agents take a good tenth of a second, in which all else goes on.
        await let_others_run()


async def _pause_if_large(size: int) -> None:
    # A large frame is joined, parsed, and split into its agents, each at once and each for about a
    # millisecond per megabyte. One after the other, they would hold up chat messages for the sum.
    if size > _LARGE:
        await let_others_run()


def _text(fields: Fields) -> str:
    names = ("text_payload", "message", "error", "reason", "status")
    texts = (codec.string_field(fields, name) for name in names)
    text = next(filter(None, texts), "no reason given")
    return text[:_SHOWN_REASON_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")
