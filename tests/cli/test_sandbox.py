"""The options of `broker sandbox` and its subcommands; what they do is tested in tests/sandbox."""

import sys
from types import ModuleType
from typing import Any

import pytest

from broker.cli.application import execute

NAMES = (
    *("agents", "messages", "kill", "seed", "malformed", "policy", "slow_agents", "hold"),
    "http_port",
)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments that the sandbox or a part of it was run with; it returns 1."""
    calls: list[dict[str, Any]] = []

    def run(given: object = None, agent: object = None, **arguments: Any) -> int:
        own = {"given": given, "agent": agent}
        calls.append(arguments | {name: one for name, one in own.items() if one is not None})
        return 1

    for module, function in (("command", "run"), ("serve", "serve"), ("act", "act")):
        replaced = ModuleType(f"broker.sandbox.{module}")
        vars(replaced)[function] = run
        monkeypatch.setitem(sys.modules, replaced.__name__, replaced)
    return calls


@pytest.mark.parametrize(
    ("line", "passed_on"),
    [
        ("", (5, None, False, None, 0, "random", 0, 0, None)),
        (
            (
                "--agents 2 --messages 1 --seed -3 --malformed 12.5 --policy=consistent_hash"
                " --slow-agents=1 --hold=0.5 --kill --http-port 9780"
            ),
            (2, 1, True, -3, 12.5, "consistent_hash", 1, 0.5, 9780),
        ),
    ],
)
def test_the_whole_sandbox(
    line: str, passed_on: tuple[object, ...], played: list[dict[str, Any]]
) -> None:
    assert execute(["sandbox", *line.split()]) == 1
    assert played == [dict(zip(NAMES, passed_on, strict=True))]


def test_its_parts_take_settings_too(played: list[dict[str, Any]]) -> None:
    for line in ("serve --port 1 --amqp-url=amqp://a", "serve", "act --agent Zoe"):
        assert execute(["sandbox", *line.split()]) == 1
    wide, plain, act = played
    assert (wide["host"], wide["port"], wide["given"]["amqp_url"]) == ("127.0.0.1", 1, "amqp://a")
    assert plain["port"] == 8765
    assert act["agent"] == "Zoe"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--agents 1", "--agents must be from 2 to 1000"),
        ("--agents two", "--agents must be a number"),
        ("--agents", "--agents requires an argument"),
        ("--messages 0", "--messages must be at least 1"),
        ("--seed x", "--seed must be a number"),
        ("--malformed 100.5", "--malformed must be from 0 to 100"),
        ("--malformed -1", "--malformed must be from 0 to 100"),
        ("--malformed nan", "--malformed must be from 0 to 100"),
        ("--policy fair", "--policy must be random or least_outstanding or"),
        ("--hold -1", "--hold must be at least 0"),
        ("--slow-agents -1", "--slow-agents must be from 0 to 1000"),
        ("--rabbitmq-host x", "--rabbitmq-host"),
        ("--kill=maybe", "--kill must be without a value"),
        ("--http-port 0", "--http-port must be from 1 to 65535"),
        ("serve --port 65536", "--port must be from 1 to 65535"),
        ("act", "requires --agent"),
    ],
)
@pytest.mark.usefixtures("played")
def test_wrong_usage(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["sandbox", *line.split()]) == 2
    [error] = capsys.readouterr().err.splitlines()
    assert said in error


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", ("serve ", "act ", "--kill ", "--http-port ", "'q'")),
        ("serve", ("--host ", "--port ", "broker help settings")),
        ("act", ("--agent ", "broker help settings")),
    ],
)
def test_help(line: str, says: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["sandbox", *line.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(one in shown for one in says)
    assert "Exit codes" in shown
    assert len(shown.splitlines()) <= 40
