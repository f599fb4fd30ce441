"""The command that is printed can be pasted into a shell in the same directory."""

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.sandbox.invitation import invitation

NODE: Any = SimpleNamespace(host="127.0.0.1", port=45678)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment in the directory `my tools`, which is not on PATH."""
    programs = tmp_path / "my tools" / "bin"
    programs.mkdir(parents=True)
    script = programs / "broker"
    script.touch()
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "/none/such")
    return programs


def program() -> list[str]:
    url, *words = shlex.split(invitation(NODE))
    assert url == "AMQP_URL=amqp://127.0.0.1:45678"
    assert words[-2:] == ["send", "hello"]
    return words[:-2]


def test_from_nearby_and_from_far_away(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program() == ["my tools/bin/broker"]
    monkeypatch.chdir("/usr/share")
    [far] = program()
    assert (Path.cwd() / far).resolve() == (environment / "broker").resolve()


def test_the_one_on_path(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(environment))
    assert program() == ["broker"]


def test_without_a_script(environment: Path) -> None:
    (environment / "broker").unlink()
    assert program() == [sys.executable, "-m", "broker"]
