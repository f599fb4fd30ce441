import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme

from broker import __main__, __version__
from broker.cli import execute
from broker.settings import Settings
from broker.settings.options import options

HIDDEN = "Tr0ub4dor"

# Each is wrong by itself. Those of a group concern different variables, so that one process
# reports them all; what concerns several variables is seen only when all are sound by themselves.
WRONG_TOGETHER: list[dict[str, str]] = [
    {
        "RABBITMQ_HOST": "rabbit,,hare",
        "RABBITMQ_PORT": "0",
        "RABBITMQ_USER": "a\nb",
        "RABBITMQ_PASSWORD": f"{HIDDEN}\n",
        "RABBITMQ_VHOST": "v" * 256,
        "AMQP_URL": f"http://me:{HIDDEN}@rabbit/",
        "AMQP_CA_FILE": "/none/such",
        "AMQP_CERT_FILE": "/",
        "AMQP_KEY_FILE": "/none/such",
        "WEBSOCKET_URL": "http://server/ws",
        "WEBSOCKET_CA_FILE": "/dev/null",
        "BROKER_WEBSOCKET_TOKEN": f"{HIDDEN}\r\nX: y",
        "BROKER_FOLLOW_ADVERTISED_URL": "maybe",
        "BROKER_WEBSOCKET_MAX_BYTES": "1",
        "BROKER_WEBSOCKET_SILENCE": "inf",
        "BROKER_NAME": "a\x1b[2J",
        "BROKER_INPUT_QUEUE": "amq.direct",
        "BROKER_OUTPUT_QUEUE": "q" * 256,
        "BROKER_METADATA_QUEUE": "a\tb",
        "BROKER_PREFETCH": "65536",
        "BROKER_MAX_MESSAGE_BYTES": "134217729",
        "BROKER_MAX_AGENTS": "all",
        "BROKER_MAX_HOPS": "1.5",
        "BROKER_REGISTRY_TTL": "nan",
        "BROKER_SHUTDOWN_TIMEOUT": "0",
        "BROKER_LOG_LEVEL": "loud",
        "BROKER_LOG_FORMAT": "xml",
    },
    {
        "RABBITMQ_PASSWORD_FILE": "/none/such",
        "AMQP_URL_FILE": "/",
        "BROKER_WEBSOCKET_TOKEN_FILE": "/dev/null",
        "RABBITMQ_PORT": "amqp",
        "RABBITMQ_HOST": f"amqp://me:{HIDDEN}@rabbit",
        "WEBSOCKET_URL": f"ws://me:{HIDDEN}@server/ws",
        "BROKER_REGISTRY_TTL": "-1",
        "BROKER_PREFETCH": "many",
    },
    {"AMQP_URL": f"amqps://me:{HIDDEN}@rabbit/?cafile=x"},
    {"AMQP_URL": f"amqp://me:{HIDDEN}@rabbit:99999/"},
    {"BROKER_INPUT_QUEUE": "q", "BROKER_OUTPUT_QUEUE": "q"},
]


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no variable and no `.env` from outside, and room for the help."""
    for option in options():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it hides what fails at exit
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    yield
    # It waits for the service, which is a substitute here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that the service was run with; it returns 1."""
    calls: list[Settings] = []
    service = ModuleType("broker.service")

    def run(settings: Settings) -> int:
        calls.append(settings)
        return 1

    vars(service)["run"] = run
    monkeypatch.setitem(sys.modules, "broker.service", service)
    return calls


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments that the sandbox was run with; it returns 1."""
    calls: list[dict[str, Any]] = []
    command = ModuleType("broker.sandbox.command")

    def run(**arguments: Any) -> int:
        calls.append(arguments)
        return 1

    vars(command)["run"] = run
    monkeypatch.setitem(sys.modules, "broker.sandbox.command", command)
    return calls


def start(
    *arguments: str, variables: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "broker", *arguments],
        env=os.environ | dict(variables or {}),
        check=False,
        text=True,
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

    @pytest.mark.parametrize("command", [[], ["run"]])
    def test_without_options(self, command: list[str], served: list[Settings]) -> None:
        assert execute(command) == 1
        assert [settings.rabbitmq_host for settings in served] == ["localhost"]

    def test_every_setting_is_an_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        for option in options():
            flag = "--" + option.name.replace("_", "-")
            # A value that is wrong for most, and an unknown option for none.
            execute([f"{flag}=\x7f", "--rabbitmq-port=0"])
            errors = capsys.readouterr().err
            assert "unknown" not in errors.lower()
            assert "RABBITMQ_PORT" in errors or "multiple times" in errors

    def test_secrets_from_a_file(self, served: list[Settings], tmp_path: Path) -> None:
        (tmp_path / "password").write_text("hunter2\n")
        assert execute(["--rabbitmq-password-file", str(tmp_path / "password")]) == 1
        assert served[0].rabbitmq_password == "hunter2"

    def test_values_may_begin_with_a_hyphen(self, served: list[Settings]) -> None:
        assert execute(["--rabbitmq-password=-x"]) == 1
        assert served[0].rabbitmq_password == "-x"

    def test_a_failure_of_the_service_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        service = ModuleType("broker.service")

        def run(_: Settings) -> int:
            raise BrokenPipeError

        vars(service)["run"] = run
        monkeypatch.setitem(sys.modules, "broker.service", service)
        with pytest.raises(BrokenPipeError):
            execute([])


class TestSandbox:
    def test_defaults(self, played: list[dict[str, Any]]) -> None:
        assert execute(["sandbox"]) == 1
        assert played == [{"agents": 5, "messages": None, "seed": None, "malformed": 0}]

    def test_options(self, played: list[dict[str, Any]]) -> None:
        line = "sandbox --agents 2 --messages 1 --seed -3 --malformed 12.5"
        assert execute(line.split()) == 1
        assert played == [{"agents": 2, "messages": 1, "seed": -3, "malformed": 12.5}]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--agents", "1"], "--agents must be from 2 to 1000"),
            (["--agents", "two"], "--agents must be a number"),
            (["--agents"], "--agents requires an argument"),
            (["--messages", "0"], "--messages must be at least 1"),
            (["--seed", "x"], "--seed must be a number"),
            (["--malformed", "100.5"], "--malformed must be from 0 to 100"),
            (["--malformed", "-1"], "--malformed must be from 0 to 100"),
            (["--malformed", "nan"], "--malformed must be from 0 to 100"),
            (["--rabbitmq-host", "x"], "--rabbitmq-host"),
        ],
    )
    def test_wrong_usage(
        self,
        arguments: list[str],
        said: str,
        played: list[dict[str, Any]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert execute(["sandbox", *arguments]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("broker: ")
        assert said in line
        assert played == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "unknown command 'rnu'"),
        (["run", HIDDEN], "unexpected argument"),
        (["--rabbitmq-password", "my", HIDDEN], "unexpected argument"),
        (["--no-such-option", "x"], "--no-such-option"),
        ([f"--no-such-option={HIDDEN}"], "--no-such-option"),
        (["--no\x1b[2J\nsuch"], r"--no\x1b[2J\nsuch"),
        ([f"-p{HIDDEN}"], "unknown option"),
        (["--rabbitmq-host"], "--rabbitmq-host requires an argument"),
        (["--rabbitmq-host", "--broker-name", "x"], "--rabbitmq-host requires an argument"),
        (["--broker-name", "a", "--broker-name", "b"], "multiple times"),
        (["--rabbitmq-port", "0"], "RABBITMQ_PORT must be a port"),
        (["run", "--rabbitmq-port", "x\ny"], r"RABBITMQ_PORT must be a port"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    said: str,
    served: list[Settings],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert execute(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert line.startswith("broker: ")
    assert said in line
    assert HIDDEN not in line
    assert served == []


@pytest.mark.parametrize("variables", WRONG_TOGETHER)
def test_a_process_with_a_wrong_configuration(variables: dict[str, str]) -> None:
    process = start(variables=variables)
    assert process.returncode == 2
    assert process.stdout == ""
    assert HIDDEN not in process.stderr
    lines = process.stderr.splitlines()
    if len(variables) == 2:  # a disagreement
        assert lines == [f"broker: {' and '.join(variables)} must be different queues, not all 'q'"]
        return
    assert len(lines) == len(variables)
    for variable in variables:
        assert any(line.startswith(f"broker: {variable} must ") for line in lines), variable


@pytest.mark.parametrize(
    ("variable", "value"),
    [(name, value) for group in WRONG_TOGETHER for name, value in group.items() if len(group) != 2],
)
def test_each_wrong_value_alone_is_enough(
    variable: str,
    value: str,
    served: list[Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert execute([]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"broker: {variable} must ")
    assert served == []


def test_a_process_with_tls_files_but_no_tls(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / ".env").write_text("AMQP_CA_FILE=ca.pem\nWEBSOCKET_CA_FILE=ca.pem\n")
    process = start()
    assert process.returncode == 2
    assert [line.split()[1] for line in process.stderr.splitlines()] == [
        "AMQP_CA_FILE",
        "WEBSOCKET_CA_FILE",
    ]


class TestHelp:
    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"]])
    def test_every_option_with_variable_and_default(
        self, arguments: list[str], served: list[Settings], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert execute(arguments) == 0
        # Undo the wrapping: the frame and its padding.
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for option in options():
            assert f"--{option.name.replace('_', '-')} " in text
            assert f"[variable: {option.variable}]" in text
            if option.default is not None:
                assert f"[variable: {option.variable}] [default: {option.default}]" in text
        assert "prefer the variable or RABBITMQ_PASSWORD_FILE" in text
        assert served == []

    def test_names_stay_whole_on_a_narrow_terminal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        assert execute(["--help"]) == 0
        assert "--broker-follow-advertised-url" in capsys.readouterr().out

    def test_sandbox(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert execute(["sandbox", "--help"]) == 0
        text = capsys.readouterr().out
        for option in ("--agents", "--messages", "--seed", "--malformed"):
            assert option in text
        assert "RABBITMQ_HOST" not in text

    def test_commands_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert execute(["--help"]) == 0
        text = capsys.readouterr().out
        assert "Run the broker until SIGINT or SIGTERM" in text
        assert "sandbox" in text


class TestProcess:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        process = start("--version")
        assert (process.returncode, process.stdout) == (0, f"{__version__}\n")
        assert execute(["run", "--version"]) == 0
        assert capsys.readouterr().out == f"{__version__}\n"

    def test_version_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from broker.__main__ import main; sys.argv[1:] = ['--version']\n"
            "try: main()\n"
            "except SystemExit: print(sorted({'dotenv', 'trio', 'cyclopts'} & set(sys.modules)))"
        )
        process = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert process.stdout == f"{__version__}\n[]\n"

    def test_help_imports_no_service(self) -> None:
        code = (
            "import sys; from broker.cli import execute; execute(['--help'])\n"
            "print('loaded', sorted({'trio', 'aiormq', 'structlog'} & set(sys.modules)))"
        )
        process = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert process.stdout.endswith("loaded []\n")

    @pytest.mark.parametrize(
        ("arguments", "code"), [(["--version"], 0), (["--rabbitmq-port=0"], 2), (["--help"], 1)]
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

    @pytest.mark.parametrize(("arguments", "code"), [("--version", 0), ("--rabbitmq-port=0", 2)])
    def test_streams_closed_before_the_start(self, arguments: str, code: int) -> None:
        line = f'exec "$0" -m broker {arguments} >&- 2>&-'
        process = subprocess.run(["sh", "-c", line, sys.executable], check=False, timeout=60)  # noqa: S607 - every POSIX system's
        assert process.returncode == code


class TestMain:
    @pytest.fixture(autouse=True)
    def no_arguments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["broker"])

    def test_exit_code_of_the_service(self, served: list[Settings]) -> None:
        with pytest.raises(SystemExit) as caught:
            __main__.main()
        assert caught.value.code == 1
        assert len(served) == 1

    def test_interrupt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        service = ModuleType("broker.service")

        def run(_: Settings) -> None:
            # Not by the signal: what is started in the background ignores it.
            signal.default_int_handler(signal.SIGINT, None)

        vars(service)["run"] = run
        monkeypatch.setitem(sys.modules, "broker.service", service)
        with pytest.raises(SystemExit) as caught:
            __main__.main()
        assert caught.value.code == 130

    def test_a_broken_stream_goes_to_the_null_device(
        self, served: list[Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            stream.write("for nobody")
            with pytest.raises(SystemExit) as caught:
                __main__.main()
            assert caught.value.code == 1
            assert len(served) == 1
            assert os.path.samestat(os.fstat(writer), os.stat(os.devnull))  # noqa: PTH116 - no path
