"""`broker sandbox`: the whole system to try, or its server or one of its agents alone."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from broker.cli.option_types import Switch, within
from broker.cli.taking_settings import OPTIONS, taking_settings

_AGENT_NAME = re.compile(r"[\w-]{1,50}", re.ASCII)
_PORT = within(1, 65_535)


def sandbox_commands() -> App:
    """Return `broker sandbox` with its subcommands."""
    app = App(
        name="sandbox",
        group_parameters=OPTIONS,
        help="Try the broker with a private RabbitMQ, a stand-in server and sample agents.",
        help_epilogue=(
            "On a terminal it shows a live view with keys until 'q'; elsewhere it exchanges 100 "
            "messages and prints a line every two seconds. Exit codes: 0 every message is "
            "accounted for, 1 something is missing or failed, 2 wrong usage, 130 interrupted."
        ),
    )
    app.default(_sandbox)
    app.command(
        taking_settings(_serve),
        name="serve",
        help="Run the stand-in server alone, next to your own RabbitMQ, broker and agents.",
        help_epilogue="Exit codes: 0 stopped, 2 wrong usage or configuration.",
    )
    app.command(
        taking_settings(_act),
        name="act",
        help="Run one sample agent alone: it asks and answers until it is stopped.",
        help_epilogue="Exit codes: 0 stopped, 2 wrong usage or configuration.",
    )
    return app


def _sandbox(
    *,
    agents: Annotated[int, Parameter(validator=within(2, 1000))] = 5,
    messages: Annotated[int | None, Parameter(validator=within(1))] = None,
    kill: Switch = False,
    seed: int | None = None,
    malformed: Annotated[float, Parameter(validator=within(0, 100))] = 0,
    policy: Literal["random", "least_outstanding", "consistent_hash"] = "random",
    slow_agents: Annotated[int, Parameter(validator=within(0, 1000))] = 0,
    hold: Annotated[float, Parameter(validator=within(0))] = 0,
    http_port: Annotated[int | None, Parameter(validator=_PORT)] = None,
) -> int:
    """Try the broker with a private RabbitMQ, a stand-in server and sample agents.

    Args:
        agents: Number of sample agents.
        messages: Number of messages to send before stopping; without it, until stopped.
        kill: Kill the broker and RabbitMQ under load, and account for every message.
        seed: Seed for everything random, to repeat a run.
        malformed: Percentage of messages that are malformed.
        policy: How the broker chooses receivers.
        slow_agents: Number of sample agents that take two seconds to answer.
        hold: Seconds to hold messages that nobody can receive.
        http_port: Port of the broker's status page; without it, any free one.
    """
    from broker.sandbox.command import run  # noqa: PLC0415 - slow

    return run(
        agents=agents,
        messages=messages,
        kill=kill,
        seed=seed,
        malformed=malformed,
        policy=policy,
        slow_agents=slow_agents,
        hold=hold,
        http_port=http_port,
    )


def _serve(
    given: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=_PORT)] = 8765,
) -> int:
    """Run the stand-in server.

    It tells brokers who is online, advertises `WEBSOCKET_URL`, and puts what they routed into the
    agents' queues. With `BROKER_WEBSOCKET_TOKEN`, brokers must know it.

    Args:
        host: Address to listen on.
        port: Port to listen on.
    """
    from broker.sandbox.serve import serve  # noqa: PLC0415 - slow

    return serve(given, host=host, port=port)


def _is_agent_name(_: Any, name: str) -> None:
    if not _AGENT_NAME.fullmatch(name):
        raise ValueError("must be 1 to 50 letters, digits, '-' or '_'")


def _act(
    given: Mapping[str, str],
    *,
    agent: Annotated[str, Parameter(validator=_is_agent_name)],
) -> int:
    """Run one sample agent.

    It asks a question every other second, answers what it is asked, and says goodbye when it is
    stopped.

    Args:
        agent: Its name; the id is the same in lower case.
    """
    from broker.sandbox.act import act  # noqa: PLC0415 - slow

    return act(given, agent)
