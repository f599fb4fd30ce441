"""A sample agent as a program of its own: `broker sandbox act --agent Alice`.

It takes the settings that a broker takes, asks whoever is there a question every other second,
answers what it is asked, and says goodbye when it is stopped.
"""

from collections.abc import Mapping
from functools import partial
from uuid import uuid4

import msgspec
import structlog
import trio

from broker.amqp import Delivery, Publishing, Rabbit, Session
from broker.concurrency.signals import Interruption
from broker.core.codec import decode_input, string_field
from broker.core.messages import MAX_BODY_BYTES, ChatMessage
from broker.sandbox.agent_heartbeats import AGENTS_QUEUE
from broker.sandbox.server_queues import INPUT_QUEUE, agent_queue, answering
from broker.sandbox.sessions import keep_session
from broker.sandbox.standalone import run, session_candidates
from broker.sandbox.traffic import chat_message
from broker.settings import Settings

INTERVAL = 2.0
"""Seconds between two questions; with each it says again that it is there."""
_STOP_TIMEOUT = 5.0
"""Seconds that it has for saying goodbye."""

_log = structlog.get_logger(__name__)


def act(given: Mapping[str, str], name: str) -> int:
    """Be an agent until a signal stops it, and return the exit code."""
    return run(given, partial(_act, name))


async def _act(name: str, settings: Settings, rabbit: Rabbit, interruption: Interruption) -> None:
    agent = _Agent(name)
    queues = (INPUT_QUEUE, AGENTS_QUEUE, agent.queue)
    await keep_session(
        rabbit,
        session_candidates(settings, name=f"sandbox agent {name}", queues=queues),
        partial(agent.converse, interruption),
    )


class _Agent:
    def __init__(self, name: str) -> None:
        self._name = name
        self._id = name.lower()
        self.queue = agent_queue(self._id)

    async def converse(self, interruption: Interruption, session: Session) -> None:
        """Talk until a signal comes; a second one ends it at once."""
        stopped = trio.Event()
        with trio.CancelScope() as stopping:

            def stop() -> None:
                stopped.set()
                stopping.deadline = trio.current_time() + _STOP_TIMEOUT

            interruption.stop = stop
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(session.consume, self.queue, answering(self._answer))
                    while not stopped.is_set():
                        question = self._chat("TEXT", "Is anybody there?")
                        await session.publish([self._here(), question])
                        with trio.move_on_after(INTERVAL):
                            await stopped.wait()
                    # First, so that nothing more is sent here while the last of it is answered.
                    await session.publish([self._to_server("CLIENT_DISCONNECTED")])
                    nursery.cancel_scope.cancel()
            finally:
                interruption.stop = None

    def _answer(self, delivery: Delivery) -> Publishing | None:
        message = decode_input(delivery.body, MAX_BODY_BYTES)
        if not isinstance(message, ChatMessage):
            _log.warning("not_understood")
            return None
        message_type = string_field(message.fields, "message_type")
        message_id = string_field(message.fields, "message_id")
        _log.info(
            "received",
            message_type=message_type,
            message_id=message_id,
            sender_id=message.sender_id,
        )
        if message_type != "TEXT":  # answering answers would never end
            return None
        return self._chat("REPLY", f"Yes, {self._name} is.", message_id)

    def _here(self) -> Publishing:
        return self._to_server("REGISTER_AGENT", agent_name=self._name, capabilities=["chat"])

    def _to_server(self, message_type: str, **fields: object) -> Publishing:
        message = {"message_type": message_type, "agent_id": self._id, **fields}
        return Publishing(AGENTS_QUEUE, msgspec.json.encode(message), self._id)

    def _chat(self, message_type: str, text: str, in_reply_to: str | None = None) -> Publishing:
        message_id = uuid4().hex
        _log.info("sent", message_type=message_type, message_id=message_id)
        body = chat_message(message_type, message_id, self._id, text, in_reply_to)
        return Publishing(INPUT_QUEUE, body, self._id)
