"""A sample agent as a program of its own: `python -m broker.sandbox.act --agent Alice`.

It takes the settings that a broker takes, asks whoever is there a question every other second,
answers what it is asked, and says goodbye when it is stopped.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial
from re import ASCII, fullmatch
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
from broker.sandbox.standalone import keep_session, run
from broker.sandbox.traffic import chat_message
from broker.settings import Settings

INTERVAL = 2.0
"""Seconds between two questions; with each it says again that it is there."""
_STOP_TIMEOUT = 5.0
"""Seconds that it has for saying goodbye."""

_log = structlog.get_logger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Be an agent until a signal stops it, and return the exit code; 2 for wrong usage."""
    parser = ArgumentParser("python -m broker.sandbox.act", description=__doc__, allow_abbrev=False)
    parser.add_argument("--agent", required=True, help="its name; the id is the same in lower case")
    name: str = parser.parse_args(arguments).agent
    if not fullmatch(r"[\w-]{1,50}", name, ASCII):
        parser.error("argument --agent: must be 1 to 50 letters, digits, '-' or '_'")
    return run(partial(_act, name))


async def _act(name: str, settings: Settings, rabbit: Rabbit, interruption: Interruption) -> None:
    agent = _Agent(name)
    await keep_session(
        settings,
        rabbit,
        partial(agent.converse, interruption),
        name=f"sandbox agent {name}",
        queues=(INPUT_QUEUE, AGENTS_QUEUE, agent.queue),
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
