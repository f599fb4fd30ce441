"""The errors of this package, and the one place that makes them of aiormq's.

aiormq shows the loss of a connection as `CancelledError`, `ConnectionError`,
`RuntimeError`, `AMQPError` or a bare `Exception`, depending on who notices it
first. Outside of this package there is only `AmqpError`.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiormq
from aiormq.exceptions import (
    ChannelClosed,
    ChannelInvalidStateError,
    ConnectionInternalError,
    ConnectionNotAllowed,
    ConnectionNotImplemented,
    ProbableAuthenticationError,
)

from broker.net.causes import cause_in_words


class AmqpError(Exception):
    """Something went wrong between the broker and RabbitMQ. The session is over."""


class QueueUnavailableError(AmqpError):
    """RabbitMQ does not let a queue or an exchange be used now. The session goes on without it."""


_REFUSALS = (
    ChannelClosed,
    # For example what a quorum queue without a majority answers to a consumer.
    ConnectionInternalError,
    ConnectionNotAllowed,
    ConnectionNotImplemented,
    TimeoutError,
)
"""How RabbitMQ refuses to let one queue be used, as opposed to a connection that was lost."""


def is_refusal(error: BaseException | None) -> bool:
    """Return whether an error concerns the queue of a request, and not the whole node."""
    return isinstance(error, _REFUSALS)


@contextmanager
def confined() -> Iterator[None]:
    """Turn an `AmqpError` by which RabbitMQ refused a request into a `QueueUnavailableError`.

    For requests about one queue or exchange, on a connection that nothing else depends on. The
    loss of the connection stays an `AmqpError`.
    """
    try:
        yield
    except QueueUnavailableError:
        raise
    except AmqpError as error:
        if is_refusal(error.__cause__):
            raise QueueUnavailableError(str(error)) from error
        raise


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn whatever aiormq raises inside of the block into an `AmqpError`.

    A cancellation that was asked for stays a cancellation, also when aiormq
    swallowed it, as it may while a channel closes; one that aiormq made up,
    because the connection went away under a call, becomes an `AmqpError`.
    The action, "connecting to ...", begins the message.
    """
    try:
        yield
    except AmqpError:
        raise
    except asyncio.CancelledError as error:
        if is_being_cancelled():
            raise
        raise AmqpError(f"{action}: the connection was lost") from error
    except TimeoutError as error:
        raise AmqpError(f"{action}: no answer in time") from error
    except Exception as error:
        raise AmqpError(f"{action}: {describe(error)}") from error
    else:
        if is_being_cancelled():
            raise asyncio.CancelledError


def is_being_cancelled() -> bool:
    """Whether somebody has asked the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def describe(error: BaseException) -> str:
    """Return one line for a person: what RabbitMQ or the system said."""
    match error:
        case asyncio.CancelledError() | StopAsyncIteration():
            text: object = "the connection was lost"
        case Exception(args=()) if type(error) is Exception:
            # What aiormq raises for those who wait when it knows of no reason.
            text = "the connection was lost"
        case ChannelInvalidStateError():
            text = "the channel is closed"  # aiormq names the object
        case ProbableAuthenticationError():
            text = f"RabbitMQ refused the login ({error.args[-1]})"
        case aiormq.AMQPError() if error.args:
            # aiormq's errors carry the reply code first and the reply text last.
            text = error.args[-1]
        case OSError():
            text = cause_in_words(error)
        case _:
            text = error
    return " ".join(str(text).split()) or type(error).__name__
