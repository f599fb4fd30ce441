"""Loading: every problem at once, in one line each, and never a secret among them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from broker.settings.agreement import disagreements
from broker.settings.dotenv_file import DotenvError, read_dotenv
from broker.settings.model import Settings
from broker.settings.options import options
from broker.settings.secret_files import SUFFIX, SecretFile, read_secret
from broker.settings.setting import Setting, settings_of

type Level = Literal["command line", "environment", ".env"]


class SettingsError(Exception):
    """The configuration is wrong: a line for each variable says what it must be; no secrets."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the value of a setting comes from: nowhere, if it is the default."""

    level: Level | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, and where each of them comes from, by field name."""

    settings: Settings
    origins: Mapping[str, Origin]


def load_settings(overrides: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Load the settings from overrides, environment, `.env` and defaults, in this order.

    Args:
        overrides: What the command line gives, by field name, such as `rabbitmq_host` or
            `rabbitmq_password_file`. An empty value counts as not given, as everywhere.

    Raises:
        SettingsError: Something is wrong; all problems are named.
        TypeError: An override is no setting.
    """
    return load_with_origins(overrides).settings


def load_with_origins(overrides: Mapping[str, str] = MappingProxyType({})) -> LoadedSettings:
    """Load the settings as `load_settings` does, and tell where each of them comes from."""
    if unknown := overrides.keys() - {option.name for option in options()}:
        raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
    levels: dict[Level, Mapping[str, str]] = {"command line": overrides, **surroundings()}
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    problems: list[str] = []
    for one in settings_of(Settings):
        try:
            text, origins[one.name] = _given(one, levels)
            if text is not None:
                values[one.name] = _value(one, text)
        except _ProblemError as problem:
            problems.append(str(problem))
    if problems:
        raise SettingsError(problems)
    settings = Settings(**values, secret_files=tuple(_secret_files(origins)))
    if problems := list(disagreements(settings)):
        raise SettingsError(problems)
    return LoadedSettings(settings, origins)


def _secret_files(origins: Mapping[str, Origin]) -> Iterator[SecretFile]:
    for one in settings_of(Settings):
        path = origins[one.name].file
        # What is no regular file, such as a pipe, can be read only once.
        if path is not None and Path(path).is_file():
            yield SecretFile(one.variable, path, one.parse)


def surroundings() -> dict[Level, Mapping[str, str]]:
    """Return all variables of the environment and of `.env`, their names in lower case.

    Raises:
        SettingsError: There is a `.env` that cannot be read or parsed.
    """
    environment = {name.lower(): value for name, value in os.environ.items()}
    try:
        dotenv = read_dotenv(Path(".env"), {option.name for option in options()})
    except DotenvError as error:
        raise SettingsError(error.problems) from None
    return {"environment": environment, ".env": dotenv}


class _ProblemError(Exception):
    """One line, with the variable in front."""


def _given(one: Setting, levels: Mapping[Level, Mapping[str, str]]) -> tuple[str | None, Origin]:
    """Return what the highest level gives for a setting, by itself or by its file."""
    for level, variables in levels.items():
        text = variables.get(one.name) or None
        path = variables.get(one.name + SUFFIX) or None if one.is_secret else None
        if path is None and text is None:
            continue
        if path is None:
            return text, Origin(level)
        if text is not None:
            raise _ProblemError(
                f"{one.variable}{SUFFIX.upper()} must not be given together with {one.variable}"
            )
        try:
            return read_secret(path), Origin(level, path)
        except ValueError as error:
            raise _ProblemError(f"{one.variable}{SUFFIX.upper()} {error}") from None
    return None, Origin()


def _value(one: Setting, text: str) -> object:
    try:
        return one.parse(text)
    except ValueError as error:
        raise _ProblemError(f"{one.variable} {error}") from None
