"""One session with the central server: register, listen, answer."""

from collections.abc import Callable

import structlog
import trio
from trio_websocket import WebSocketConnection

from broker.central.outbox import Outbox
from broker.central.websocket import WebSocketError
from broker.concurrency.cooperation import let_others_run
from broker.concurrency.wakeup import Wakeup
from broker.core import codec, status_update
from broker.core.agent_ids import is_agent_id
from broker.core.messages import BrokerRegistered, Fields, Rejected, StatusUpdate
from broker.telemetry.tally import ServerTally

REGISTER_TIMEOUT = 10.0
"""Seconds that the server has to answer the registration."""
SEND_TIMEOUT = 10.0
"""Seconds that a message may take to leave."""
STATUS_REQUEST_INTERVAL = 5.0
"""Seconds between two requests for a status update."""
_UNSENT_MESSAGES = 100
"""A server that lets this many answers pile up does not read."""
_UNDECODED_UPDATES = 1000
_UNDECODED_BYTES = 1 << 28
"""Of all updates behind the one that is being decoded."""
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


class CentralSession:
    """A session on an open WebSocket.

    Args:
        websocket: The open WebSocket.
        outbox: Takes what the router must know.
        status_wanted: Set when the registry lacks an agent.
        broker_id: What the broker calls itself until the server names it.
        broker_name: The name it registers with.
        silence: Seconds without any frame after which the session counts as dead.
        registered: Called when the server has accepted the broker.
        tally: Counts what the server sends in vain.
    """

    def __init__(
        self,
        websocket: WebSocketConnection,
        *,
        outbox: Outbox,
        status_wanted: Wakeup,
        broker_id: str,
        broker_name: str,
        silence: float,
        registered: Callable[[], None],
        tally: ServerTally,
    ) -> None:
        self._websocket = websocket
        self._outbox = outbox
        self._status_wanted = status_wanted
        self._broker_name = broker_name
        self._silence = silence
        self._tell_registered = registered
        self._tally = tally
        self._send, self._unsent = trio.open_memory_channel[str](_UNSENT_MESSAGES)
        self._updates, self._undecoded = trio.open_memory_channel[Fields](_UNDECODED_UPDATES)
        self._undecoded_bytes = 0
        self._registered = trio.Event()
        self._last_frame = trio.current_time()
        self._reported: set[str] = set()
        self.broker_id = broker_id

    @property
    def is_registered(self) -> bool:
        """Whether the server has accepted the broker."""
        return self._registered.is_set()

    async def run(self) -> None:
        """Register, listen and answer, until cancelled or until the session is lost.

        Raises:
            WebSocketError: Lost, refused or silent; possibly inside of an exception group.
            trio_websocket.ConnectionClosed: The server closed it; likewise.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._listen)
            nursery.start_soon(self._decode_updates)
            nursery.start_soon(self._watch_silence)
            nursery.start_soon(self._ping)
            self._answer(codec.encode_register_broker(self._broker_name))
            with trio.move_on_after(REGISTER_TIMEOUT):
                await self._registered.wait()
            if not self.is_registered:
                raise WebSocketError(f"no answer to the registration in {REGISTER_TIMEOUT:g} s")
            await self._request_status()

    def _answer(self, text: str) -> None:
        try:
            self._send.send_nowait(text)
        except trio.WouldBlock:
            raise WebSocketError("the server does not read what it is sent") from None

    async def _write(self) -> None:
        # The only writer: a message that is cancelled halfway would garble the next one.
        async for text in self._unsent:
            with trio.move_on_after(SEND_TIMEOUT) as sending:
                await self._websocket.send_message(text)
            if sending.cancelled_caught:
                raise WebSocketError(f"a message did not leave within {SEND_TIMEOUT:g} s")

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
                self._handle(*frame)

    def _handle(self, message_type: str, fields: Fields) -> None:
        match message_type:
            case "PING" | "SERVER_HEARTBEAT":
                self._answer(codec.encode_pong(self.broker_id))
            case "AGENT_STATUS_UPDATE":
                self._take_update(fields)
            case "REGISTER_BROKER_RESPONSE":
                self._handle_response(fields)
            case "ERROR" if not self.is_registered:
                raise WebSocketError(f"the server refused the broker: {_text(fields)}")
            case "ERROR":
                # For one, a server that does not know REQUEST_AGENT_STATUS says so.
                _log.debug("server_error", error=_text(fields))
            case _:
                self._handle_unknown(message_type)

    def _take_update(self, fields: Fields) -> None:
        size = _size(fields)
        waiting = self._undecoded.statistics().current_buffer_used
        if waiting and (
            waiting >= _UNDECODED_UPDATES or self._undecoded_bytes + size > _UNDECODED_BYTES
        ):
            raise WebSocketError("status updates come faster than they can be decoded")
        self._undecoded_bytes += size
        self._updates.send_nowait(fields)

    async def _decode_updates(self) -> None:
        # Apart from the listener, which must answer a heartbeat that stands behind an update.
        async for fields in self._undecoded:
            size = _size(fields)
            self._undecoded_bytes -= size
            await _pause_if_large(size)
            update = await _decode_update(fields)
            if isinstance(update, Rejected):
                self._tally.ignored[update.reason.value] += 1
                _log.warning("status_update_ignored", error=update.error)
            else:
                self._outbox.put(update)

    def _handle_response(self, fields: Fields) -> None:
        status = codec.string_field(fields, "status")
        if status != "success":
            raise WebSocketError(f"the server refused the broker: {_text(fields)}")
        broker_id = codec.string_field(fields, "broker_id") or self.broker_id
        if is_agent_id(broker_id) and len(broker_id.encode()) <= _MAX_ID_BYTES:
            self.broker_id = broker_id
        else:
            _log.warning("broker_id_unusable", max_bytes=_MAX_ID_BYTES)
        self._outbox.put(BrokerRegistered(self.broker_id))
        self._registered.set()
        self._tell_registered()
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
        while trio.current_time() < (deadline := self._last_frame + self._silence):  # noqa: ASYNC110
            await trio.sleep_until(deadline)
        raise WebSocketError(f"no frame for {self._silence:g} s")

    async def _ping(self) -> None:
        # The pong counts as a frame, so an idle session stays, and a half-open connection shows.
        while True:
            await trio.sleep(self._silence / _PINGS_PER_SILENCE)
            await self._websocket.ping()
            self._last_frame = trio.current_time()

    async def _request_status(self) -> None:
        while True:
            self._status_wanted.clear()
            self._answer(codec.encode_request_agent_status(self.broker_id))
            await trio.sleep(STATUS_REQUEST_INTERVAL)
            await self._status_wanted.wait()


async def _decode_update(fields: Fields) -> StatusUpdate | Rejected:
    decoding = status_update.decoding_status_update(fields)
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


def _size(fields: Fields) -> int:
    return sum(len(memoryview(value)) for value in fields.values())


def _text(fields: Fields) -> str:
    names = ("text_payload", "message", "error", "reason", "status")
    texts = (codec.string_field(fields, name) for name in names)
    text = next(filter(None, texts), "no reason given")
    return text[:_SHOWN_REASON_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")
