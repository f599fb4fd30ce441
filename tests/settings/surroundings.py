"""What a test of settings must not find: variables and a `.env` from outside."""

import os
from pathlib import Path

import pytest


def clear_surroundings(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("BROKER_", "RABBITMQ_", "AMQP_", "WEBSOCKET_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(directory)
