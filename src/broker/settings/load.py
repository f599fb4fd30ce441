"""Loading: every problem at once, in one line each, and never a secret among them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from broker.settings.model import Settings
from broker.settings.options import options


class SettingsError(Exception):
    """The configuration is wrong.

    Attributes:
        problems: One line each, naming the variable and what it must be; no secrets.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_settings(overrides: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Load the settings from overrides, environment, `.env` and defaults, in this order.

    Args:
        overrides: What the command line gives, by field name, such as `rabbitmq_host` or
            `rabbitmq_password_file`. An empty value counts as not given, as everywhere.

    Returns:
        The validated settings.

    Raises:
        SettingsError: Something is wrong; all problems are named.
        TypeError: An override is no setting.
    """
    if unknown := overrides.keys() - {option.name for option in options()}:
        raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value}
    try:
        return Settings(**given)
    except ValidationError as error:
        # `from None`: the library's error holds the values, and a traceback would print them.
        raise SettingsError(_problems(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError((f".env must be a readable file ({reason})",)) from None


def _problems(error: ValidationError) -> tuple[str, ...]:
    lines: list[str] = []
    for detail in error.errors(include_url=False, include_input=False):
        context = detail.get("ctx", {})
        problem = context.get("problem", "must be valid UTF-8 text")
        if detail["loc"]:
            variable = context.get("variable") or str(detail["loc"][0]).upper()
            lines.append(f"{variable} {problem}")
        else:
            lines += problem.splitlines()
    return tuple(lines)
