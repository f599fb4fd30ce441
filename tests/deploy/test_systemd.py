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
COMMAND = re.compile(r"^ExecStart=/usr/bin/env ((?:\S+=\S+ )+)(\S+)$", re.MULTILINE)
LEAST_VERSION = 247
SINCE = {
    "Type": 240,  # exec
    "ProtectHostname": 242,
    "RestrictSUIDSGID": 242,
    "ProtectKernelLogs": 244,
    "ProtectClock": 245,
    "LoadCredential": 247,
    "ProtectProc": 247,
}
"""The version of systemd that brought what is newer than 239."""
OLDER = {
    *("Description", "After", "Wants", "WantedBy"),
    *("ExecStart", "EnvironmentFile", "KillSignal", "TimeoutStopSec"),
    *("Restart", "RestartSec", "RestartPreventExitStatus"),
    *("DynamicUser", "UMask", "CapabilityBoundingSet", "AmbientCapabilities", "NoNewPrivileges"),
    *("LockPersonality", "MemoryDenyWriteExecute", "MemoryMax"),
    *("PrivateDevices", "PrivateMounts", "PrivateTmp", "PrivateUsers"),
    *("ProtectControlGroups", "ProtectHome", "ProtectKernelModules", "ProtectKernelTunables"),
    *("ProtectSystem", "RemoveIPC"),
    *("RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime"),
    *("SystemCallArchitectures", "SystemCallErrorNumber", "SystemCallFilter"),
}
MOST_EXPOSED = 1.2
""""OK"; what is left is the network, which the broker needs, and the root directory."""
needs_analysis = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)"
)


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
    [(_, command)] = COMMAND.findall(UNIT)
    assert command.endswith("/bin/broker")
    assert f"-m venv {command.removesuffix('/bin/broker')}\n" in read("docs/operations.md")
    file = one("EnvironmentFile").removeprefix("-")
    assert f">{file}\n" in read("docs/operations.md")


def test_an_older_systemd_knows_all_of_it() -> None:
    names = {name for name, _ in LINES}
    assert names <= SINCE.keys() | OLDER
    assert max(SINCE[name] for name in names & SINCE.keys()) == LEAST_VERSION
    assert not re.search(r"^[^#].*%", UNIT, re.MULTILINE)  # specifiers have their versions, too
    for text in (UNIT, read("docs/operations.md")):
        assert f"systemd {LEAST_VERSION}" in text


@pytest.mark.parametrize("lines", [UNIT.splitlines(), OFFERED], ids=["given", "offered"])
def test_secrets_are_credentials(
    lines: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "\n".join(lines)
    credentials = dict(re.findall(r"^LoadCredential=(\S+):(\S+)$", text, flags=re.MULTILINE))
    [(variables, _)] = COMMAND.findall(text)
    given = dict(one.split("=", 1) for one in variables.split())
    assert {path.removeprefix("${CREDENTIALS_DIRECTORY}/") for path in given.values()} == set(
        credentials
    )
    assert set(given) <= VARIABLES
    assert settings_from(given, monkeypatch, tmp_path).amqp_url is not None
    assert all(path == f"/etc/broker/{name}" for name, path in credentials.items())


def test_it_may_do_nothing_but_its_work() -> None:
    assert one("DynamicUser") == "yes"
    assert one("ProtectSystem") == "strict"
    assert one("CapabilityBoundingSet") == ""
    # Its metrics need /proc/stat.
    assert not values("ProcSubset")


@needs_analysis
def test_systemd_understands_it(tmp_path: Path) -> None:
    done = analyzed(tmp_path, "verify")
    assert "broker.service" not in done.stderr
    assert done.returncode == 0


@needs_analysis
def test_systemd_finds_it_well_confined(tmp_path: Path) -> None:
    done = analyzed(tmp_path, "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}")
    assert done.returncode == 0, done.stdout


def analyzed(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    unit = directory / "broker.service"
    unit.write_text(COMMAND.sub("ExecStart=/bin/true", UNIT), encoding="utf-8")
    return subprocess.run(
        ["systemd-analyze", *command, unit],  # noqa: S607 - wherever it is
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
