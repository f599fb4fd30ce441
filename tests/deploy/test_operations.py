"""The runbook names what exists, and all of it."""

import re

import pytest

from broker.cli.application import execute
from broker.core.messages import RejectReason
from broker.telemetry.tally import DEAD_LETTERED, MessageOutcome
from tests.deploy.conftest import Get
from tests.deploy.repository import ROOT, VARIABLES, read
from tests.deploy.test_monitoring import ALERTS

RUNBOOK = read("docs/operations.md")
CHAPTERS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL))
HEADINGS = re.findall(
    r"^##+ (.+)$", re.sub(r"```.*?```", "", RUNBOOK, flags=re.DOTALL), re.MULTILINE
)
COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for line in re.findall(r"^\$ broker (.+)$", RUNBOOK, flags=re.MULTILINE)
    }
    | set(re.findall(r"`broker ([a-z][^`]*)`", RUNBOOK))
)


def headings_of(chapter: str) -> list[str]:
    return re.findall(r"^### (.+)$", CHAPTERS[chapter], flags=re.MULTILINE)


def first_column(chapter: str) -> set[str]:
    return set(re.findall(r"^\| `([\w*]+)`", CHAPTERS[chapter], flags=re.MULTILINE))


def test_each_alert_has_its_chapter() -> None:
    assert headings_of("Alerts") == list(ALERTS)


def test_each_check_has_its_chapter(get: Get) -> None:
    checks = [
        name
        for path in ("/readyz", "/livez")
        for name in re.findall(r"^\[[+-]\](\w+)", get(f"{path}?verbose")[1], flags=re.MULTILINE)
    ]
    assert headings_of("Checks") == checks


def test_each_reason_is_explained() -> None:
    assert first_column("Dead letters") == {reason.value for reason in RejectReason}


def test_each_event_is_logged() -> None:
    rows = re.findall(r"^\| (`.*?) \|", CHAPTERS["Logs"], re.MULTILINE)
    events = re.findall(r"`(\w+)`", "".join(rows))
    assert len(events) > 15
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert [event for event in events if f'"{event}"' not in source] == []


def test_each_metric_is_explained(get: Get) -> None:
    exposed = set(re.findall(r"^# TYPE (broker_\w+)", get("/metrics")[1], flags=re.MULTILINE))
    assert first_column("Metrics") - {"process_*"} == exposed


def test_each_outcome_is_named() -> None:
    [row] = re.findall(r"^\| `broker_message_outcomes_total` .*$", RUNBOOK, re.MULTILINE)
    assert {*MessageOutcome, DEAD_LETTERED} <= set(re.findall(r"`(\w+)`", row))


def test_each_path_is_answered(get: Get) -> None:
    paths = re.findall(r"`(/[a-z]*)`", CHAPTERS["Probes"])
    assert len(paths) == 8
    for path in paths:
        assert get(path)[0] in {200, 503}, path


def test_each_variable_exists() -> None:
    named = set(re.findall(r"\b(?:BROKER|AMQP|RABBITMQ|WEBSOCKET)_[A-Z_]+\b", RUNBOOK))
    assert len(named) > 10
    assert named <= VARIABLES


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.split()
    alternatives = [word for word in words if not word.startswith("-")]
    path = alternatives[: 2 if alternatives[0] in {"dead-letters", "queues"} else 1]
    assert execute([*path, "--help"]) == 0
    help_text = capsys.readouterr().out
    assert f"broker {' '.join(path)}" in help_text
    for option in re.findall(r"--[a-z-]+", command):
        assert option in help_text, option


def test_the_commands_are_many() -> None:
    assert {command.split()[0] for command in COMMANDS} == {
        *("status", "agents", "explain", "check", "config", "dead-letters", "queues", "asyncapi"),
        "help",
    }


@pytest.mark.parametrize("path", ["deploy/kubernetes", "deploy/systemd/broker.service"])
def test_each_file_exists(path: str) -> None:
    assert path in RUNBOOK
    assert (ROOT / path).exists()
