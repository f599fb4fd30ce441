"""The command line: `broker [run]`, and what else can be done with a broker."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NamedTuple

from cyclopts import App, CycloptsError

from broker.cli.help import show_help
from broker.cli.run import run
from broker.cli.sandbox import sandbox_commands
from broker.cli.taking_settings import OPTIONS
from broker.cli.usage import usage_problem
from broker.telemetry.one_line import complain
from broker.version import __version__


def execute(arguments: Sequence[str]) -> int:
    """Run one command, given without the program's name, and return the process's exit code.

    That is 2 for wrong usage or configuration, after one line per problem on standard error.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # What a terminal's encoding lacks, a dash or an agent's name, must not end a command.
        sys.stdout.reconfigure(errors="backslashreplace")
    app = application()
    try:
        result = app(arguments)
    except CycloptsError as error:
        return complain(usage_problem(error, arguments, app))
    return result if isinstance(result, int) else 0  # help and version return nothing


def application() -> App:
    """Return the command line as cyclopts has it, to be called or completed."""
    app = App(
        name="broker",
        version=__version__,
        help="Message broker and agent registry for multi-agent systems.",
        help_format="plaintext",
        group_parameters=OPTIONS,
        help_epilogue=_RUN_EXIT_CODES,
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )

    app.default(run)
    app.command(run, name="run")
    _add(app, "broker.cli", _COMMANDS)
    for name, text, commands in (
        (
            "dead-letters",
            "Inspect dead letters, send them back, or delete them.",
            _DEAD_LETTER_COMMANDS,
        ),
        (
            "queues",
            "List the broker's durable queues, convert them, or set policies.",
            _QUEUE_COMMANDS,
        ),
    ):
        group = App(name=name, help=text, help_epilogue="")
        _add(group, f"broker.cli.{name.replace('-', '_')}", commands)
        app.command(group)
    app.command(sandbox_commands())

    def help_topic(*command: str) -> int:
        """Show the help of a command, as its option --help does.

        Args:
            command: The command, such as dead-letters list; without it, the help of all.
        """
        return show_help(app, command)

    helping = App(
        name="help", help="Show the help of a command, or all settings.", help_epilogue=""
    )
    helping.default(help_topic)
    _add(helping, "broker.cli", _HELP_COMMANDS)
    app.command(helping)
    return app


class _Command(NamedTuple):
    """A command in a module below `broker.cli`, which is loaded when it is used."""

    name: str
    function: str
    help: str
    epilogue: str


_COMMANDS = (
    _Command(
        "check",
        "check:check",
        "Check RabbitMQ, the central server and the HTTP port as configured.",
        "It is safe alongside a running broker: it takes no message, creates no queue and "
        "publishes nothing that could reach one; RabbitMQ logs a refused request for each "
        "permission checked. A server may allow one session per name, so it registers as "
        "'BROKER_NAME (check)', or not at all with --no-register. "
        "Exit codes: 0 all checks passed, 1 a check failed, 2 wrong usage or configuration.",
    ),
    _Command(
        "config",
        "config:config",
        "Show every setting with its value and where it comes from.",
        "Secrets are masked. Exit codes: 0 valid, 2 wrong usage or configuration.",
    ),
    _Command(
        "status",
        "status:status",
        "Show the status of a running broker.",
        "Exit codes: 0 ready, 1 not ready or not reachable, 2 wrong usage or configuration.",
    ),
    _Command(
        "agents",
        "agents:agents",
        "List the agents that a running broker knows.",
        "Exit codes: 0 listed, 1 broker not reachable, 2 wrong usage or configuration.",
    ),
    _Command(
        "explain",
        "explain:explain",
        "Explain what a running broker would do with a chat message now.",
        "It changes nothing: no message is published, counted or logged. It works on the broker's "
        "own machine only. Exit codes: 0 it would be routed or forwarded, 1 it would not or no "
        "broker is reachable, 2 wrong usage or configuration.",
    ),
    _Command(
        "send",
        "send:send",
        "Send a chat message into the input queue, or the first of several.",
        "Exit codes: 0 sent, 1 not sent, 2 wrong usage or configuration.",
    ),
    _Command(
        "asyncapi",
        "asyncapi:asyncapi",
        "Print the contract with the broker's peers as an AsyncAPI document.",
        "Queues and addresses come from the environment or .env, or are the defaults.",
    ),
    _Command(
        "completion",
        "completion:completion",
        "Print a script that lets a shell complete the command line.",
        "For bash: source <(broker completion bash). For zsh: broker completion zsh > "
        "~/.zfunc/_broker, with ~/.zfunc in fpath. For fish: broker completion fish | source.",
    ),
)

_HELP_COMMANDS = (
    _Command(
        "settings",
        "settings_help:settings_help",
        "Show every setting with its default and its meaning.",
        "'broker config' shows the values in use. Exit codes: 0 shown, 2 wrong usage.",
    ),
)
_RUN_EXIT_CODES = (
    "Exit codes: 0 stopped gracefully, 1 stopped by a failure, 2 wrong usage or configuration."
)
_EXIT_CODES = "Exit codes: 0 done, 1 not or not fully done, 2 wrong usage or configuration."
_DEAD_LETTER_COMMANDS = (
    _Command(
        "list",
        "looking:list_letters",
        "List the messages in the dead-letter queue; changes nothing.",
        _EXIT_CODES,
    ),
    _Command(
        "show",
        "looking:show_letters",
        "Show dead letters with their bodies and headers; changes nothing.",
        _EXIT_CODES,
    ),
    _Command(
        "replay",
        "replaying:replay_letters",
        "Send dead letters back to their original queues.",
        _EXIT_CODES,
    ),
    _Command("purge", "purging:purge_letters", "Delete dead letters permanently.", _EXIT_CODES),
)
_QUEUE_COMMANDS = (
    _Command(
        "list",
        "listing:list_queues",
        "List the broker's durable queues; changes nothing.",
        "RabbitMQ reveals a queue's type only in a refusal, and logs one for each queue. "
        + _EXIT_CODES,
    ),
    _Command(
        "migrate",
        "migrating:migrate_queues",
        "Convert the broker's queues between classic and quorum, keeping their messages.",
        "RabbitMQ cannot change a queue's type, so each queue is emptied into NAME.migrating, "
        "deleted, created again and refilled. First stop the brokers, the central server and all "
        "other clients that read or publish. It refuses while it sees a consumer. It cannot see "
        "publishers: RabbitMQ drops messages that are published without the mandatory flag between "
        "deletion and creation. Nor can it see clients that hold messages of a classic queue "
        "without consuming it, such as 'broker dead-letters': those messages would be lost. "
        "Recreate bindings to your own exchanges. If interrupted at any point, run it again: it "
        "continues, nothing is lost, and some messages may be duplicated. " + _EXIT_CODES,
    ),
    _Command(
        "policy",
        "setting_policies:queue_policy",
        "Print or apply policies that dead-letter messages which are returned too often.",
        "Only the policy with the highest priority applies to a queue; these have 10. "
        + _EXIT_CODES,
    ),
)


def _add(app: App, package: str, commands: Sequence[_Command]) -> None:
    for one in commands:
        app.command(
            f"{package}.{one.function}", name=one.name, help=one.help, help_epilogue=one.epilogue
        )
