"""`broker send`: chat messages into the queue that the broker reads."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from typing import Annotated, Literal
from uuid import uuid4

import msgspec
import trio
from cyclopts import Parameter

from broker.amqp import AmqpError, Publishing, PublishOutcome
from broker.amqp.admin import AdminSession
from broker.cli.in_session import EXIT_OK, fail, run_in_session, write
from broker.cli.output import Format
from broker.cli.taking_settings import taking_settings
from broker.cli.validation import is_at_least_one
from broker.core.codec import decode_input
from broker.core.messages import UNKNOWN_SENDER, Rejected
from broker.settings import Settings
from broker.telemetry.one_line import complain

_AT_ONCE = 500
_PATIENCE = 30.0
"""Seconds in which RabbitMQ must confirm so many. It takes nothing during an alarm."""


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sent; see the README for the fields."""

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
    count: Annotated[int, Parameter(validator=is_at_least_one)] = 1,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Send a chat message into the input queue, or the first of several; print its message_id.

    Args:
        given: The settings that the command line gives.
        text: What it says.
        sender: Who sends it. The default excludes nobody from receiving it.
        type: TEXT, REPLY or SYSTEM.
        in_reply_to: The message_id that it answers.
        count: How many messages to send, each with a message_id of its own.
        format: For people or for programs.

    Returns:
        The exit code.
    """
    template = ChatMessage(type, "", sender, text, "", in_reply_to)
    try:
        _encode(template)
    except UnicodeEncodeError:
        return complain("the text and the ids must be UTF-8")
    return run_in_session(given, partial(_send, template, count, format), name="send")


async def _send(
    template: ChatMessage,
    count: int,
    format: str,  # noqa: A002 - named like the option
    settings: Settings,
    session: AdminSession,
) -> int:
    rejected = decode_input(_encode(_fresh(template)), settings.broker_max_message_bytes)
    if isinstance(rejected, Rejected):
        return complain(f"the broker would not accept this message: {rejected.error}")
    sent: list[str] = []
    problem = None
    try:
        for numbers in batched(range(count), _AT_ONCE, strict=False):
            messages = [_fresh(template) for _ in numbers]
            outcomes = await _publish(messages, settings, session)
            ids = [
                message.message_id
                for message, outcome in zip(messages, outcomes, strict=True)
                if outcome is PublishOutcome.CONFIRMED
            ]
            sent += ids
            if format == "text" and ids:
                write("".join(f"{one}\n" for one in ids))
            problem = _problem(outcomes, _queue(settings))
            if problem is not None:
                break
    finally:
        # Also when it is interrupted, or RabbitMQ goes away.
        if format == "json":
            report = {"queue": _queue(settings), "message_ids": sent}
            write(f"{json.dumps(report, indent=2)}\n")
    return EXIT_OK if problem is None else fail(problem)


async def _publish(
    messages: Sequence[ChatMessage], settings: Settings, session: AdminSession
) -> Sequence[PublishOutcome]:
    publishings = [
        Publishing(_queue(settings), _encode(message), settings.broker_name) for message in messages
    ]
    # An interruption waits for what is under way, so that what was sent is printed.
    with trio.move_on_after(_PATIENCE, shield=True):
        return await session.publish_once(publishings)
    raise AmqpError("RabbitMQ blocks publishing, as when its memory or disk is full")


def _queue(settings: Settings) -> str:
    # Whoever wants another one names it: --broker-input-queue.
    return settings.broker_input_queue[0]


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
