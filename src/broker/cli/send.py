"""`broker send`: chat messages into the queue that the broker reads."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from typing import Literal
from uuid import uuid4

import msgspec

from broker.amqp import Publishing, PublishOutcome
from broker.amqp.admin import AdminSession
from broker.cli.in_session import EXIT_OK, fail, run_in_session, uninterrupted, write
from broker.cli.option_types import AtLeastOne, Format
from broker.cli.taking_settings import taking_settings
from broker.core.codec import decode_input
from broker.core.messages import UNKNOWN_SENDER, Rejected
from broker.settings import Settings
from broker.telemetry.one_line import complain

_AT_ONCE = 500


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sent; docs/protocol.md has the fields."""

    message_type: str
    message_id: str
    sender_id: str
    text_payload: str
    send_timestamp: str
    in_reply_to_message_id: str | None = None


@taking_settings
def send(
    given: Mapping[str, str],
    text: str,
    /,
    *,
    sender: str = UNKNOWN_SENDER,
    type: Literal["TEXT", "REPLY", "SYSTEM"] = "TEXT",  # noqa: A002 - named like the option
    in_reply_to: str | None = None,
    count: AtLeastOne = 1,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Send a chat message into the input queue, or the first of several; print its message_id.

    Args:
        text: What it says.
        sender: Who sends it. The default excludes nobody from receiving it.
        type: TEXT, REPLY or SYSTEM.
        in_reply_to: The message_id that it answers.
        count: How many messages to send, each with a message_id of its own.
    """
    template = ChatMessage(type, "", sender, text, "", in_reply_to)
    try:
        _encode(template)
    except UnicodeEncodeError:
        return complain("the text and the ids must be UTF-8")
    return run_in_session(given, partial(_send, template, count, format == "json"), name="send")


async def _send(
    template: ChatMessage, count: int, as_json: bool, settings: Settings, session: AdminSession
) -> int:
    rejected = decode_input(_encode(_fresh(template)), settings.broker_max_message_bytes)
    if isinstance(rejected, Rejected):
        return complain(f"the broker would not accept this message: {rejected.error}")
    # Whoever wants another one names it: --broker-input-queue.
    queue = settings.broker_input_queue[0]
    sent: list[str] = []
    problem = None
    try:
        for numbers in batched(range(count), _AT_ONCE, strict=False):
            messages = [_fresh(template) for _ in numbers]
            publishings = [
                Publishing(queue, _encode(message), settings.broker_name) for message in messages
            ]
            # So that what was sent is printed.
            with uninterrupted():
                outcomes = await session.publish_once(publishings)
            ids = [
                message.message_id
                for message, outcome in zip(messages, outcomes, strict=True)
                if outcome is PublishOutcome.CONFIRMED
            ]
            sent += ids
            if ids and not as_json:
                write("".join(f"{one}\n" for one in ids))
            problem = _problem(outcomes, queue)
            if problem is not None:
                break
    finally:
        # Also when it is interrupted, or RabbitMQ goes away.
        if as_json:
            write(f"{json.dumps({'queue': queue, 'message_ids': sent}, indent=2)}\n")
    return EXIT_OK if problem is None else fail(problem)


def _problem(outcomes: Sequence[PublishOutcome], queue: str) -> str | None:
    if PublishOutcome.RETURNED in outcomes:
        return (
            f"there is no queue {queue!r}: a broker creates it when it starts; start one, or "
            "check BROKER_INPUT_QUEUE"
        )
    if PublishOutcome.REFUSED in outcomes:
        refused = outcomes.count(PublishOutcome.REFUSED)
        return f"RabbitMQ refused {refused} of the messages: check whether {queue!r} is full"
    return None


def _fresh(template: ChatMessage) -> ChatMessage:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return msgspec.structs.replace(template, message_id=str(uuid4()), send_timestamp=now)


_encode = msgspec.json.Encoder().encode
