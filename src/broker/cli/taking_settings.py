"""Commands that take every setting as an option, besides their own.

Settings are taken as text and handed on to `load_settings`, so that a value is judged in one place
wherever it comes from.
"""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import cyclopts
from cyclopts.help import (
    ColumnSpec,
    DefaultFormatter,
    DescriptionRenderer,
    HelpPanel,
    NameRenderer,
)
from rich.console import Console, ConsoleOptions

from broker.settings.options import options

# The default breaks long names in two, so that nobody could search for them.
_COLUMNS = (
    ColumnSpec(renderer=NameRenderer(), no_wrap=True),
    ColumnSpec(renderer=DescriptionRenderer()),
)
OPTIONS = cyclopts.Group("Options", help_formatter=DefaultFormatter(column_specs=_COLUMNS))
"""A command's own options, with what else its help lists."""


def _point_to_settings(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:  # noqa: ARG001 - of the protocol
    console.print("Settings are options, too, such as --rabbitmq-host: broker help settings")


SETTINGS = cyclopts.Group("Settings", help_formatter=_point_to_settings)
"""Settings would fill the screen of each command's help, so it only says where they are."""


def taking_settings(command: Callable[..., int]) -> Callable[..., int]:
    """Return a command without its first parameter, and with a keyword for each setting.

    The first one takes the settings that are given, as text by field name; see `load_settings`. The
    others are the command's own, and must not be named like a setting.
    """
    first, *own = signature(command).parameters.values()
    own_signature = Signature(own)

    @wraps(command)
    def taking(*args: Any, **keywords: Any) -> int:
        given = {name: keywords.pop(name) for name in set(keywords) - {one.name for one in own}}
        bound = own_signature.bind(*args, **keywords)
        return command(given, *bound.args, **bound.kwargs)

    taking.__signature__ = Signature([*own, *_settings()])  # type: ignore[attr-defined]  # inspect reads it
    taking.__annotations__ = {
        name: kind for name, kind in command.__annotations__.items() if name != first.name
    }
    return taking


def _settings() -> list[Parameter]:
    parameters = []
    for option in options():
        default = "" if option.default is None else f" [default: {option.default}]"
        text = f"{option.description} [variable: {option.variable}]{default}"
        help_ = cyclopts.Parameter(help=text, metavar="TEXT", group=SETTINGS)
        kind = Annotated[str | None, help_]
        # The default is for load_settings to give, after environment and `.env`.
        one = Parameter(option.name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        parameters.append(one)
    return parameters
