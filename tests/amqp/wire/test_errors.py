"""One error for everything that can happen between the broker and RabbitMQ."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiormq.exceptions import (
    AMQPConnectionError,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelPreconditionFailed,
    ConnectionClosed,
    ProbableAuthenticationError,
)

from broker.amqp.wire.errors import AmqpError, describe, translated
from broker.concurrency.error_groups import first_error
from tests.amqp.in_asyncio import in_asyncio


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (asyncio.CancelledError(), "the connection was lost"),
        (StopAsyncIteration(), "the connection was lost"),
        (Exception(), "the connection was lost"),
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset by the peer"),
        (ConnectionClosed(320, "CONNECTION_FORCED - bye"), "CONNECTION_FORCED - bye"),
        (ChannelPreconditionFailed("PRECONDITION_FAILED - no"), "PRECONDITION_FAILED - no"),
        (ChannelClosed(None, None), "None"),
        (
            ProbableAuthenticationError("ACCESS_REFUSED"),
            "RabbitMQ refused the login (ACCESS_REFUSED)",
        ),
        (AMQPConnectionError(), "AMQPConnectionError"),
        (ChannelInvalidStateError("<Channel at 0x7fab3a3d61c0> closed"), "the channel is closed"),
        (RuntimeError("two\nlines"), "two lines"),
        (ssl.SSLError(1, "certificate verify failed"), "certificate verify failed"),
        (ValueError(), "ValueError"),
    ],
    ids=repr,
)
@in_asyncio
async def test_everything_becomes_one_error_with_its_cause(error: BaseException, text: str) -> None:
    with pytest.raises(AmqpError) as caught, translated("doing it"):
        raise error
    assert str(caught.value).startswith(f"doing it: {text}")
    assert caught.value.__cause__ is error


def test_what_is_translated_already_passes() -> None:
    error = AmqpError("as it is")
    with pytest.raises(AmqpError) as caught, translated("doing it"):
        raise error
    assert caught.value is error


async def wait() -> None:
    await asyncio.get_running_loop().create_future()


async def swallow_the_cancellation() -> None:
    try:
        await wait()
    except asyncio.CancelledError:
        return


@pytest.mark.parametrize("call", [wait, swallow_the_cancellation])
@in_asyncio
async def test_a_cancellation_that_was_asked_for_stays_one(
    call: Callable[[], Awaitable[None]],
) -> None:
    async def act() -> None:
        with translated("doing it"):
            await call()

    task = asyncio.create_task(act())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@in_asyncio
async def test_a_deadline_within_is_no_cancellation() -> None:
    with pytest.raises(AmqpError, match="doing it: no answer in time"), translated("doing it"):
        async with asyncio.timeout(0):
            await wait()


def test_a_line_for_a_person_is_one_line() -> None:
    assert describe(ValueError("Multiple exceptions:\n them")) == "Multiple exceptions: them"


def test_the_first_error_of_nested_groups() -> None:
    first, second = AmqpError("1"), AmqpError("2")
    inner = BaseExceptionGroup("inner", [first, second])
    nested: BaseExceptionGroup[Any] = BaseExceptionGroup("outer", [inner, second])
    assert first_error(nested) is first
