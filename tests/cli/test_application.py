import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from broker import __main__, __version__
from broker.cli.application import execute
from broker.core.routing.policy import Policy
from broker.settings import Settings

HIDDEN = "Tr0ub4dor"
EXHAUSTIVE = pytest.mark.exhaustive

type Serve = Callable[[Settings, str | Policy], int]
type Replace = Callable[[Serve], None]

COMMANDS = {
    "run": "Run the broker until SIGINT, SIGTERM or SIGHUP",
    "check": "Check RabbitMQ, the central server and the HTTP port",
    "config": "Show every setting",
    "status": "Show the status of a running broker",
    "agents": "List the agents",
    "explain": "Explain what a running broker would do",
    "send": "Send a chat message",
    "dead-letters": "Inspect dead letters",
    "queues": "List the broker's durable queues, convert",
    "asyncapi": "Print the contract",
    "completion": "Print a script",
    "help": "Show the help",
    "sandbox": "Try the broker",
}
IN_GROUPS = [
    *(f"dead-letters {name}" for name in ("list", "show", "replay", "purge")),
    *(f"queues {name}" for name in ("list", "migrate", "policy")),
    "help settings",
]
TAKING_SETTINGS = {
    *("run", "check", "config", "status", "agents", "explain", "send", "asyncapi"),
    *IN_GROUPS[:-1],
}
SCREEN = 40
"""Lines of a help at most, at 80 columns."""
POINTER = "Settings are options, too, such as --rabbitmq-host: broker help settings"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Puts a function in the place of the service."""

    def replace(run: Serve) -> None:
        module = ModuleType("broker.service")
        vars(module)["run"] = run
        monkeypatch.setitem(sys.modules, "broker.service", module)

    return replace


@pytest.fixture
def served(service: Replace) -> list[Settings]:
    """The settings that the service was run with; it returns 1."""
    calls: list[Settings] = []

    def run(settings: Settings, _: str | Policy) -> int:
        calls.append(settings)
        return 1

    service(run)
    return calls


def start(
    *arguments: str, variables: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "broker", *arguments],
        env=os.environ | dict(variables or {}),
        check=False,
        text=True,
        errors="replace",
        timeout=60,
        **(streams or {"capture_output": True}),
    )


class TestRun:
    @pytest.mark.parametrize("command", [[], ["run"]])
    def test_options_become_settings(
        self, command: list[str], served: list[Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RABBITMQ_HOST", "from-environment")
        monkeypatch.setenv("BROKER_NAME", "from-environment")
        line = [*command, "--rabbitmq-host", "rabbit", "--broker-prefetch=7"]
        assert execute([*line, "--broker-follow-advertised-url", "true"]) == 1
        [settings] = served
        assert settings.rabbitmq_host == "rabbit"
        assert settings.broker_prefetch == 7
        assert settings.broker_follow_advertised_url
        assert settings.broker_name == "from-environment"

    def test_values_may_begin_with_a_hyphen(self, served: list[Settings]) -> None:
        assert execute(["--rabbitmq-password=-x"]) == 1
        assert served[0].rabbitmq_password == "-x"

    def test_a_failure_of_the_service_is_not_hidden(self, service: Replace) -> None:
        def run(_: Settings, __: str | Policy) -> int:
            raise BrokenPipeError

        service(run)
        with pytest.raises(BrokenPipeError):
            execute([])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "unknown command 'rnu', did you mean run?"),
        (["frobnicate"], "unknown command 'frobnicate', see broker --help"),
        (["start"], "unknown command 'start', see broker --help"),
        (["replay"], "unknown command 'replay', did you mean dead-letters replay?"),
        (["list"], "unknown command 'list', did you mean dead-letters list or queues list?"),
        (["deadletters", "list"], "did you mean dead-letters?"),
        (["run", HIDDEN], "unexpected argument"),
        (["--rabbitmq-password", "my", HIDDEN], "unexpected argument"),
        (["--no-such-option", "x"], "unknown option --no-such-option, see broker --help"),
        (["--rabbitmq-hots", "x"], "unknown option --rabbitmq-hots, did you mean --rabbitmq-host?"),
        (["--prefetch", "5"], "unknown option --prefetch, did you mean --broker-prefetch?"),
        (["--port", "5"], "did you mean --broker-http-port or --rabbitmq-port?"),
        ([f"--no-such-option={HIDDEN}"], "--no-such-option"),
        (["--no\x1b[2J\nsuch"], r"--no\x1b[2J\nsuch"),
        ([f"-p{HIDDEN}"], "unknown option -p, see broker --help"),
        (["--rabbitmq-host"], "--rabbitmq-host requires an argument"),
        (["--rabbitmq-host", "--broker-name", "x"], "--rabbitmq-host requires an argument"),
        (["--broker-name", "a", "--broker-name", "b"], "multiple times"),
        (["--rabbitmq-port", "0"], "RABBITMQ_PORT must be a port"),
        (["run", "--rabbitmq-port", "x\ny"], r"RABBITMQ_PORT must be a port"),
        (["statsu", "--url", HIDDEN], "unknown command 'statsu', did you mean status?"),
        (["send", "text", "send"], "unexpected argument"),
        (["send"], "broker: send requires TEXT"),
        (["check", HIDDEN], "unexpected argument"),
        (["check", f"--no-such-option={HIDDEN}"], "--no-such-option, see broker check --help"),
        (["check", "--no-regster"], "unknown option --no-regster, did you mean --no-register?"),
        (["dead-letters", "list", "--foo"], "--foo, see broker dead-letters list --help"),
        (["check", "--format", HIDDEN], "--format must be text or json"),
        (["check", f"--register={HIDDEN}"], "--register must be without a value"),
        (
            ["dead-letters", "lst"],
            "unknown command 'dead-letters lst', did you mean dead-letters list",
        ),
        (["dead-letters", "migrate"], "'dead-letters migrate', see broker dead-letters --help"),
        (
            ["dead-letters", "--amqp-url", HIDDEN, "list"],
            "option --amqp-url before the command, it must follow: see broker dead-letters --help",
        ),
        (["dead-letters", f"-p{HIDDEN}", "list"], "option -p before the command"),
        (["dead-letters", "list", HIDDEN], "unexpected argument"),
        (["dead-letters", "list", "--older-than", "5"], "--older-than must be a duration"),
        (["dead-letters", "list", "--newer-than", "1w"], "--newer-than must be a duration"),
        (["dead-letters", "list", "--rabbitmq-port", "0"], "RABBITMQ_PORT must be a port"),
        (["dead-letters", "show", "--limit", "0"], "broker: --limit must be at least 1"),
        (["dead-letters", "show", "--oldest", "0"], "broker: --oldest must be at least 1"),
        (["dead-letters", "show", "--newest", "101"], "--newest must be from 1 to 100"),
        (
            ["dead-letters", "show", "--newest", "1", "--oldest", "1"],
            "broker: --oldest and --newest must not be combined",
        ),
        (["dead-letters", "show", "--number", "0"], "--number must be at least 1"),
        (["dead-letters", "show", "--reason", "invalid-json"], "must be one of invalid_json, inv"),
        (["dead-letters", "show", "--reason", "invalid-json"], "delivery_limit, expired, maxlen,"),
        (["dead-letters", "replay", "--limit", "many"], "--limit must be a number"),
        (["dead-letters", "purge"], "purge needs a selection"),
        (["dead-letters", "purge", "--all", "--id", "x"], "--all must not be combined"),
        (["dead-letters", "purge", "--all", "--newest", "1"], "--all must not be combined"),
        (["send", "hello", "--count", "0"], "--count must be at least 1"),
        (["send", "hello", "--type", "ERROR"], "--type must be TEXT or REPLY or SYSTEM"),
        (["send", os.fsdecode(b"\xff")], "must be UTF-8"),
        (["send", "hello", "--sender", os.fsdecode(b"\xff")], "must be UTF-8"),
        (["asyncapi", "--broker-prefetch", "none"], "BROKER_PREFETCH must be"),
        (
            ["queues", "migrate"],
            "queues migrate requires --type, which must be quorum or classic",
        ),
        (["queues", "policy", "--apply"], "must go together"),
        (["queues", "policy", "--management-url", "http://localhost:15672"], "must go together"),
        (["queues", "policy", "--management-url", "localhost:1"], "must start with http://"),
        (["queues", "policy", "--delivery-limit", "0"], "--delivery-limit must be at least 1"),
        (["check", "--management-url", f"http://a:{HIDDEN}@b"], "--management-url must not"),
        (["config", "--env", "--format", "json"], "--env has no JSON form"),
        (["status", "--broker-http-port", "0"], "give its address by --url"),
        (["status", "--broker-http-port", "off"], "BROKER_HTTP_PORT is off"),
        (["status", "--url", "ftp://x"], "--url must start with http:// or https://"),
        (["status", "--url", "http://x:99999"], "--url must have a valid host and a port"),
        (["status", "--watch=maybe"], "--watch must be without a value"),
        (["agents", "--broker-http-port", "0"], "give its address by --url"),
        (["agents", "--limit", "0"], "--limit must be from 1 to 1000"),
        (["agents", "--offset", "-1"], "--offset must be from 0 to 100000"),
        (["agents", "--capability"], "--capability requires an argument"),
        (["agents", f"--online={HIDDEN}"], "--online must be without a value"),
        (["explain"], "broker: explain requires MESSAGE"),
        (["explain", "/none/such"], "/none/such cannot be read: No such file or directory"),
        (["explain", "/"], "/ cannot be read: Is a directory"),
        (["explain", "/dev/null", "--url", "ftp://x"], "--url must start with http://"),
        (["completion", HIDDEN], "must be bash or zsh or fish"),
        (["completion"], "completion requires SHELL, which must be bash or zsh or fish"),
        (["help", "statsu"], "unknown command 'statsu', did you mean status?"),
        (["help", "queues", "lst"], "unknown command 'queues lst', did you mean queues list?"),
        (["help", "setings"], "unknown command 'setings', did you mean settings?"),
        (["help", "settings", "x"], "unexpected argument"),
        (["sandbox", "serv"], "unknown command 'sandbox serv', did you mean sandbox serve?"),
        (["sandbox", "--seed", "1", HIDDEN], "unexpected argument"),
        (["sandbox", "serve", HIDDEN], "unexpected argument"),
    ],
)
@pytest.mark.usefixtures("served")
def test_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert line.startswith("broker: ")
    assert said in line
    assert HIDDEN not in line


def test_a_process_with_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BROKER_PREFETCH=many\n")
    variables = {
        "RABBITMQ_PASSWORD": f"{HIDDEN}\n",
        "AMQP_URL": f"http://me:{HIDDEN}@rabbit/",
        "AMQP_CA_FILE": "/none/such",
        "BROKER_WEBSOCKET_TOKEN_FILE": "/dev/null",
    }
    process = start("--broker-name", "a\x1b[2J", variables=variables)
    assert (process.returncode, process.stdout) == (2, "")
    assert HIDDEN not in process.stderr
    named = [line.partition(" must ")[0] for line in process.stderr.splitlines()]
    assert named == [f"broker: {name}" for name in (*variables, "BROKER_NAME", "BROKER_PREFETCH")]


class TestHelp:
    @pytest.mark.parametrize("command", ["", *COMMANDS, *IN_GROUPS])
    def test_each_command_has_help_that_fits_a_screen(
        self,
        command: str,
        served: list[Settings],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        assert execute([*command.split(), "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"Usage: broker {command}")
        assert COMMANDS.get(command, "") in " ".join(text.split())
        assert "[variable: " not in text
        lines = text.splitlines()
        assert len(lines) <= SCREEN
        assert max(map(len, lines)) <= 80
        assert lines.count(POINTER) == (command in {"", *TAKING_SETTINGS})
        assert served == []

    @pytest.mark.parametrize("command", ["", "check", "dead-letters list"])
    def test_a_command_tells_the_same(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = command.split()
        assert execute([*words, "--help"]) == execute([*words, "-h"]) == 0
        by_option = capsys.readouterr().out
        assert execute(["help", *words]) == execute(["help", *words]) == 0
        assert capsys.readouterr().out == by_option

    def test_commands_are_listed_with_a_line_each(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert execute(["--help"]) == 0
        lines = [line.strip("│ ").split() for line in capsys.readouterr().out.splitlines()]
        listed = {words[0]: words[1:] for words in lines if words and words[0] in COMMANDS}
        assert listed.keys() == COMMANDS.keys()
        for command, words in listed.items():
            assert " ".join(words).startswith(COMMANDS[command])
            assert words[-1].endswith(".")

    def test_check_tells_that_it_is_safe(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert execute(["check", "--help"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "safe alongside a running broker" in text
        assert "registers as 'BROKER_NAME (check)', or not at all with --no-register" in text


class TestProcess:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        process = start("--version")
        assert (process.returncode, process.stdout) == (0, f"{__version__}\n")
        assert execute(["run", "--version"]) == 0
        assert capsys.readouterr().out == f"{__version__}\n"

    def test_an_answer_does_not_wait_for_what_the_service_loads(self) -> None:
        code = (
            "import sys; from broker.cli.application import execute\n"
            "for option in ('--version', '--help', '--rabbitmq-port=0'): execute([option])\n"
            "print('loaded', sorted({'trio', 'aiormq', 'structlog'} & set(sys.modules)))"
        )
        process = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert process.stdout.endswith("loaded []\n")

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["--rabbitmq-port=0"], 2),
            pytest.param(["--version"], 1, marks=EXHAUSTIVE),
            pytest.param(["--help"], 1, marks=EXHAUSTIVE),
            pytest.param(["asyncapi"], 0, marks=EXHAUSTIVE),
        ],
    )
    def test_nobody_reads(self, arguments: list[str], code: int) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            process = start(*arguments, stdout=writer, stderr=subprocess.PIPE)
            assert process.returncode == code
            assert "Traceback" not in process.stderr
            assert "Exception" not in process.stderr
            # The same with nobody reading the errors.
            assert start(*arguments, stdout=writer, stderr=writer).returncode == code
        finally:
            os.close(writer)

    def test_what_the_terminal_cannot_show_is_escaped(self) -> None:
        process = start(
            "config", "--broker-name", "caf\u00e9 \u2013", variables={"PYTHONIOENCODING": "latin-1"}
        )
        assert (process.returncode, process.stderr) == (0, "")
        assert r"\u2013" in process.stdout

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [("--version", 0), pytest.param("--rabbitmq-port=0", 2, marks=EXHAUSTIVE)],
    )
    def test_streams_closed_before_the_start(self, arguments: str, code: int) -> None:
        line = f'exec "$0" -m broker {arguments} >&- 2>&-'
        process = subprocess.run(["sh", "-c", line, sys.executable], check=False, timeout=60)  # noqa: S607 - every POSIX system's
        assert process.returncode == code


@cache
def completion(shell: str) -> str:
    """Return a script, which takes long to write."""
    with redirect_stdout(StringIO()) as script:
        assert execute(["completion", shell]) == 0
    return script.getvalue()


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", pytest.param("zsh", marks=EXHAUSTIVE), "fish"])
    def test_names_every_command(self, shell: str) -> None:
        script = completion(shell)
        for command in (*COMMANDS, "replay"):
            assert command in script
        assert "--broker-prefetch" in script or "-l broker-prefetch" in script

    @pytest.mark.parametrize(
        ("line", "completed"),
        [
            ("broker che", "check"),
            ("broker sta", "status"),
            ("broker dead-letters re", "replay"),
            ("broker --broker-pre", "--broker-prefetch"),
            ("broker check --for", "--format"),
            ("broker check --format j", "json"),
            ("broker completion f", "fish"),
        ],
    )
    def test_in_a_bash(self, line: str, completed: str, tmp_path: Path) -> None:
        (tmp_path / "broker.bash").write_text(completion("bash"))
        # As bash itself calls the function when somebody presses the tab key.
        code = """
            source "$1"
            [[ $(complete -p broker) == "complete -F _broker broker" ]] || exit 1
            COMP_WORDS=($2) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _broker broker "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"
        """
        process = subprocess.run(
            ["bash", "--norc", "-c", code, "bash", "broker.bash", line],  # noqa: S607 - any bash
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (process.stdout.split(), process.stderr) == ([completed], "")


class TestMain:
    @pytest.fixture(autouse=True)
    def no_arguments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["broker"])

    def test_exit_code_of_the_service(self, served: list[Settings]) -> None:
        with pytest.raises(SystemExit) as caught:
            __main__.main()
        assert caught.value.code == 1
        assert len(served) == 1

    def test_interrupt(self, service: Replace) -> None:
        def run(_: Settings, __: str | Policy) -> int:
            # Not by the signal: what is started in the background ignores it.
            signal.default_int_handler(signal.SIGINT, None)
            raise AssertionError("not reached")

        service(run)
        with pytest.raises(SystemExit) as caught:
            __main__.main()
        assert caught.value.code == 130

    def test_a_broken_stream_goes_to_the_null_device(
        self, service: Replace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            service(lambda *_: stream.write("for nobody"))
            monkeypatch.setattr(sys, "stdout", stream)
            with pytest.raises(SystemExit) as caught:
                __main__.main()
            assert caught.value.code == len("for nobody")
            assert os.path.samestat(os.fstat(writer), os.stat(os.devnull))  # noqa: PTH116 - no path
