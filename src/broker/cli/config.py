"""`broker config`: what is in force, and where it comes from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

from broker.cli.option_types import Format
from broker.cli.output import console, print_json, print_text
from broker.cli.taking_settings import taking_settings
from broker.settings.load import LoadedSettings, SettingsError, load_with_origins
from broker.settings.model import Settings
from broker.settings.options import options
from broker.settings.setting import settings_of
from broker.settings.shown import shown
from broker.settings.unknown import UnknownVariable, unknown_variables
from broker.telemetry.one_line import complain, one_line

_HEAD = """\
# Settings of the broker, each with its default. Remove the # before those you change.
# The broker reads this file when it is named .env, in the directory where it is started.
# Put a value with spaces, #, $ or quotes in single quotes.
"""


class Line(msgspec.Struct, frozen=True):
    """One setting, secrets masked; it is not used when another one overrides it."""

    variable: str
    value: str | None
    origin: str
    file: str | None = None
    used: bool = True


@taking_settings
def config(
    given: Mapping[str, str],
    *,
    format: Format = "text",  # noqa: A002 - named like the option
    env: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show every setting with its value and its origin, secrets masked.

    Args:
        env: Print a commented template for a .env file instead.
    """
    if env:
        if format == "json":
            return complain("--env has no JSON form")
        print_text(_template())
        return 0
    unknown: list[UnknownVariable] = []
    try:
        unknown += unknown_variables()
        loaded = load_with_origins(given)
    except SettingsError as error:
        return complain(*error.problems, *map(str, unknown))
    lines = list(_lines(loaded))
    if format == "json":
        print_json({"settings": lines, "unknown_variables": unknown})
    else:
        _print(lines)
        complain(*map(str, unknown))
    return 0


def _lines(loaded: LoadedSettings) -> Iterator[Line]:
    has_url = loaded.settings.amqp_url is not None
    for one in settings_of(Settings):
        origin = loaded.origins[one.name]
        yield Line(
            variable=one.variable,
            value=shown(one, loaded.settings),
            origin=origin.level or "default",
            file=origin.file,
            used=not (has_url and one.name.startswith("rabbitmq_")),
        )


def _print(lines: Sequence[Line]) -> None:
    printing = console()
    widest = max(len(line.variable) for line in lines)
    for line in lines:
        origin = line.origin + (f", file {line.file}" if line.file else "")
        if not line.used:
            origin += "; not used, as AMQP_URL is given"
        text = Text(f"{line.variable:<{widest}}  ")
        text.append(f"{'-' if line.value is None else one_line(line.value)}  ", style="bold")
        text.append(f"({one_line(origin)})", style="dim")
        printing.print(text, soft_wrap=True)


def _template() -> str:
    descriptions = {one.name: one.description for one in settings_of(Settings)}
    blocks = (
        # Of a secret, an option's own text speaks of the command line.
        f"# {descriptions.get(option.name, option.description)}\n"
        f"#{option.variable}={option.default or ''}\n"
        for option in options()
    )
    return "\n".join((_HEAD, *blocks))
