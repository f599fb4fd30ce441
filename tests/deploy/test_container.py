"""Dockerfile and compose.yaml: what can be known of them without building anything.

That the image works is in `test_image`, that the services do in `test_compose`.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.deploy.repository import DEFAULTS, VARIABLES, read, settings_from

DOCKERFILE = [
    line.strip().partition(" ")[::2]
    for line in re.sub(
        r"\\\n", " ", re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.MULTILINE)
    ).splitlines()
    if line.strip()
]
LAST_STAGE = DOCKERFILE[max(n for n, (word, _) in enumerate(DOCKERFILE) if word == "FROM") :]
COMPOSE = yaml.safe_load(read("compose.yaml"))
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "rabbitmq"}


def one(instruction: str) -> str:
    [argument] = [argument for word, argument in LAST_STAGE if word == instruction]
    return argument


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(one("ENV")))


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


# Dockerfile.


def test_all_that_is_installed_is_pinned_by_hash() -> None:
    commands = [argument for word, argument in DOCKERFILE if word == "RUN"]
    installs = re.findall(r"pip(?: --python \S+)? install ([^&]+)", " ".join(commands))
    assert len(installs) == 3
    for options in installs:
        assert "--require-hashes" in options or "--no-deps /wheels/*.whl" in options


def test_the_settings_of_the_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {
        variable: value for variable, value in image_environment().items() if variable in VARIABLES
    }
    settings = settings_from(given, monkeypatch, tmp_path)
    assert settings.broker_http_host == "::"
    assert settings.broker_http_port == DEFAULTS.broker_http_port == int(one("EXPOSE"))
    others = image_environment().keys() - VARIABLES
    assert others == {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def health(port: str) -> int:
    _, _, command = one("HEALTHCHECK").partition("CMD ")
    program, *arguments = json.loads(command)
    assert program == "python"
    environment = {"BROKER_HTTP_PORT": port, "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, check=False, timeout=60
    ).returncode


@contextmanager
def serving(status: int) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        yield server.server_port
        thread.join()


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1)])
def test_the_health_is_that_of_the_probe(status: int, exit_code: int) -> None:
    with serving(status) as port:
        assert health(str(port)) == exit_code


# compose.yaml.


def test_each_part_is_read_only_and_has_no_privileges() -> None:
    assert set(OURS) == {"server", "broker", "alice", "bob"}
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["build"] == "."


def test_the_broker_is_given_the_time_that_a_stop_may_take() -> None:
    broker = SERVICES["broker"]
    timeout = float(broker["environment"]["BROKER_SHUTDOWN_TIMEOUT"])
    assert seconds(broker["stop_grace_period"]) > timeout
    assert timeout == DEFAULTS.broker_shutdown_timeout
    assert "entrypoint" not in broker


def test_the_ports_are_the_brokers_and_stay_on_this_machine() -> None:
    assert SERVICES["broker"]["ports"] == ["127.0.0.1:9780:9780"]
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
