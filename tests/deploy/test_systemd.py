"""The unit, which agrees with the broker."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from broker.telemetry.one_line import WRONG_USAGE
from tests.deploy.repository import DEFAULTS, VARIABLES, read, settings_from

UNIT = read("deploy/systemd/broker.service")
LINES = [line.partition("=")[::2] for line in UNIT.splitlines() if re.match(r"[A-Za-z]+=", line)]
OFFERED = re.findall(r"^# (\w+=.*)$", UNIT, flags=re.MULTILINE)


def values(key: str) -> list[str]:
    return [value for name, value in LINES if name == key]


def one(key: str) -> str:
    [value] = values(key)
    return value


def test_it_stops_gracefully() -> None:
    assert one("Type") == "exec"
    assert one("KillSignal") == "SIGTERM"
    assert float(one("TimeoutStopSec")) > DEFAULTS.broker_shutdown_timeout


def test_a_wrong_configuration_is_not_tried_again() -> None:
    assert one("Restart") == "on-failure"
    assert one("RestartPreventExitStatus") == str(WRONG_USAGE)


def test_it_runs_what_the_document_installs() -> None:
    command = one("ExecStart")
    assert command.endswith("/bin/broker")
    assert f"-m venv {command.removesuffix('/bin/broker')}\n" in read("docs/operations.md")
    file = one("EnvironmentFile").removeprefix("-")
    assert f">{file}\n" in read("docs/operations.md")


def test_the_settings_are_sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = dict(value.split("=", 1) for value in values("Environment"))
    assert settings_from(given, monkeypatch, tmp_path).amqp_url is not None


@pytest.mark.parametrize("lines", [UNIT.splitlines(), OFFERED], ids=["given", "offered"])
def test_secrets_are_credentials(lines: list[str]) -> None:
    text = "\n".join(lines)
    credentials = dict(re.findall(r"^LoadCredential=(\S+):(\S+)$", text, flags=re.MULTILINE))
    files = dict(re.findall(r"^Environment=(\w+)=%d/(\S+)$", text, flags=re.MULTILINE))
    assert set(files.values()) == set(credentials) != set()
    assert set(files) <= VARIABLES
    assert all(path == f"/etc/broker/{name}" for name, path in credentials.items())


def test_it_may_do_nothing_but_its_work() -> None:
    assert one("DynamicUser") == "yes"
    assert one("ProtectSystem") == "strict"
    assert one("CapabilityBoundingSet") == ""
    # Its metrics need /proc/stat.
    assert not values("ProcSubset")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_it(tmp_path: Path) -> None:
    unit = tmp_path / "broker.service"
    unit.write_text(UNIT.replace(one("ExecStart"), "/bin/true"), encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit],  # noqa: S607 - wherever it is
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert "broker.service" not in verified.stderr
    assert verified.returncode == 0
