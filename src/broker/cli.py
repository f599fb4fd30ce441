"""The command line: `broker [run]`, and what else can be done with a broker."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    Parameter,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from broker import __version__
from broker.commands.taking_settings import OPTIONS, taking_settings
from broker.run import complain, run


def execute(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The process's exit code; 2 for wrong usage or configuration, after one line per problem
        on standard error.
    """
    try:
        result = _application()(arguments)
    except CycloptsError as error:
        return complain(_usage_problem(error, arguments))
    return result if isinstance(result, int) else 0  # help and version return nothing


def _application() -> App:
    app = App(
        name="broker",
        version=__version__,
        help="Message broker and agent registry for multi-agent systems.",
        help_format="plaintext",
        group_parameters=OPTIONS,
        help_epilogue=(
            "Every option can be given as its environment variable or in a file named .env. "
            "Exit codes: 0 stopped gracefully, 1 stopped by a failure, 2 wrong usage or "
            "configuration."
        ),
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )

    def run_broker(given: Mapping[str, str]) -> int:
        """Run the broker until SIGINT or SIGTERM; the default command."""
        return run(given)

    def sandbox(
        *,
        agents: Annotated[int, Parameter(validator=_within(2, 1000))] = 5,
        messages: Annotated[int | None, Parameter(validator=_within(1))] = None,
        seed: int | None = None,
        malformed: Annotated[float, Parameter(validator=_within(0, 100))] = 0,
    ) -> int:
        """Try the broker with a private RabbitMQ, a stand-in server and sample agents.

        Args:
            agents: Number of sample agents.
            messages: Number of messages to send before stopping; without it, until stopped.
            seed: Seed for everything random, to repeat a run.
            malformed: Percentage of messages that are malformed.
        """
        from broker.sandbox.command import run as play  # noqa: PLC0415 - slow, too

        return play(agents=agents, messages=messages, seed=seed, malformed=malformed)

    running = taking_settings(run_broker)
    app.default(running)
    app.command(running, name="run")
    app.command(sandbox, help_epilogue="")
    return app


def _within(least: float, most: float | None = None) -> Callable[[object, Any], None]:
    expectation = f"at least {least}" if most is None else f"from {least} to {most}"

    def validate(_: object, value: float | None) -> None:
        # Written so that NaN is refused.
        if value is not None and not (value >= least and (most is None or value <= most)):
            raise ValueError(f"must be {expectation}")

    return validate


def _usage_problem(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Word a wrong usage without repeating values, as each may be a secret."""
    match error:
        case ValidationError(argument=argument) if argument is not None:
            return f"{argument.name} {error.exception_message}"
        case CoercionError(argument=argument) if argument is not None:
            return f"{argument.name} must be a number"
        case UnusedCliTokensError(unused_tokens=[token, *_]) if token == arguments[0]:
            return f"unknown command {token!r}, try --help"
        case UnusedCliTokensError():
            return "unexpected argument behind the options (values with spaces need quotes)"
        case UnknownOptionError(token=token) if not (token.keyword or "").startswith("--"):
            return "unknown option, try --help"
        case _:
            return str(error)
