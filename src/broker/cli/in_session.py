"""Commands that talk to RabbitMQ: connected once, no reconnecting, and one line when it fails."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import trio

from broker.amqp import AmqpError, SessionLostError, SessionParameters, open_rabbit
from broker.amqp.admin import AdminSession, open_admin_session
from broker.concurrency.error_groups import first_error
from broker.concurrency.signals import Interruption, run_interruptible
from broker.settings import Settings, SettingsError, load_settings
from broker.telemetry.logs import configure_logging
from broker.telemetry.one_line import complain

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
PATIENCE = 30.0
"""Seconds in which RabbitMQ must do what a command asks. It takes nothing during an alarm."""
_BLOCKED = "RabbitMQ blocks publishing, as when its memory or disk is full"

type Command = Callable[[Settings, AdminSession], Awaitable[int]]


def run_in_session(given: Mapping[str, str], command: Command, *, name: str) -> int:
    """Run a command with a session with RabbitMQ.

    Args:
        given: The settings that the command line gives; see `load_settings`.
        command: Returns the exit code. It is cancelled by SIGINT, SIGTERM and SIGHUP, and when the
            session is lost.
        name: Names the connections in RabbitMQ's own listings.

    Returns:
        The exit code: the command's, 1 when there is no session or it was lost, 2 for a wrong
        configuration, 130 when interrupted.
    """
    try:
        settings = load_settings(given)
    except SettingsError as error:
        return complain(*error.problems)
    # What goes wrong is said in one line, below.
    configure_logging("critical", "console")
    program = partial(_run, settings, command, name)
    return trio.run(run_interruptible, program, EXIT_INTERRUPTED)


def fail(problem: str) -> int:
    """Say in one line on standard error what went wrong, and return the exit code for it."""
    complain(problem)
    return EXIT_FAILED


async def _run(settings: Settings, command: Command, name: str, _: Interruption) -> int:
    code = EXIT_FAILED
    try:
        async with open_any_session(settings, name) as session:
            code = await command(settings, session)
    except* SessionLostError as errors:
        problem = str(first_error(errors))
        code = fail(f"{problem}; {_advice(settings, problem)}")
    except* OSError as errors:
        # RabbitMQ's are translated; this one comes from `write`.
        code = fail(f"cannot write to standard output: {first_error(errors).strerror}")
    return code


@contextmanager
def uninterrupted(problem: str = _BLOCKED) -> Iterator[None]:
    """Let an interruption wait for what is under way, for `PATIENCE` at most.

    Raises:
        AmqpError: It took longer; the text is `problem`.
    """
    with trio.move_on_after(PATIENCE, shield=True) as patience:
        yield
    if patience.cancelled_caught:
        raise AmqpError(problem)


@asynccontextmanager
async def open_any_session(settings: Settings, name: str) -> AsyncIterator[AdminSession]:
    """Open a session with the first node that lets it be opened, tried in the order given.

    A single session spreads no load, and so a command does the same each time.

    Raises:
        SessionLostError: None of them does, or the session was lost.
    """
    tls, nodes = settings.amqp_tls, settings.amqp_nodes
    problems = []
    async with open_rabbit() as rabbit:
        for endpoint in settings.amqp_endpoints:
            parameters = SessionParameters(endpoint=endpoint, name=name, tls=tls, nodes=nodes)
            is_open = False
            try:
                async with open_admin_session(rabbit, parameters) as session:
                    is_open = True
                    yield session
            except SessionLostError as error:
                if is_open:
                    raise
                problems.append(str(error))
            else:
                return
    raise SessionLostError("; ".join(problems))


def _advice(settings: Settings, problem: str) -> str:
    if "no queue" in problem:
        return "a broker creates its queues when it starts; start one, or check the queue's name"
    if "ACCESS_REFUSED" in problem:
        return "grant the user that permission with rabbitmqctl set_permissions"
    if "max size" in problem:
        return (
            "RabbitMQ accepted it when max_message_size was larger: raise that until this is done"
        )
    where = "RABBITMQ_HOST, RABBITMQ_PORT, RABBITMQ_USER, RABBITMQ_PASSWORD and RABBITMQ_VHOST"
    return f"check that RabbitMQ runs, and check {'AMQP_URL' if settings.amqp_url else where}"


def write(text: str) -> bool:
    """Write to standard output, whatever it can encode; return whether somebody still reads it.

    Raises:
        OSError: It cannot be written for another reason.
    """
    if sys.stdout is None:  # closed before the start
        return False
    encoding = sys.stdout.encoding or "utf-8"
    with suppress(BrokenPipeError):
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
        return True
    return False
