"""What the files for running the broker must agree with."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from broker.settings import Settings, load_settings
from broker.settings.options import options
from tests.settings.surroundings import clear_surroundings

ROOT = Path(__file__).parents[2]
VARIABLES = {option.variable for option in options()}
DEFAULTS = Settings()


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def settings_from(
    given: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, directory: Path
) -> Settings:
    """Load settings as a broker does that is given these variables, its secrets in files."""
    clear_surroundings(monkeypatch, directory)
    for variable, value in given.items():
        assert variable in VARIABLES
        if variable.endswith("_FILE"):
            file = directory / variable
            file.write_text("amqp://user:password@rabbitmq/" if "URL" in variable else "token")
            monkeypatch.setenv(variable, str(file))
        else:
            monkeypatch.setenv(variable, value)
    return load_settings()
