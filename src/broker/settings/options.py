"""The settings as a list of options, for the command line and its help."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import SecretStr

from broker.settings.model import Settings
from broker.settings.secret_files import SUFFIX, is_secret


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as text.

    Attributes:
        name: The field's name, or the secret's with `_file` behind it.
        description: What it means, in a sentence for a person.
        default: Its default as one would write it, None when there is none.
    """

    name: str
    description: str
    default: str | None

    @property
    def variable(self) -> str:
        """The environment variable."""
        return self.name.upper()


def options() -> Iterator[Option]:
    """Yield an option for every setting, and one more for the file of every secret."""
    for name, field in Settings.model_fields.items():
        description = field.description or ""
        if not is_secret(field):
            yield Option(name, description, _written(field.default))
            continue
        variable = (name + SUFFIX).upper()
        warning = f"Arguments are visible to others: prefer the variable or {variable}."
        yield Option(name, f"{description} {warning}", _written(field.default))
        yield Option(name + SUFFIX, f"File to read {name.upper()} from.", None)


def _written(default: object) -> str | None:
    match default:
        case None:
            return None
        case bool():
            return str(default).lower()
        case SecretStr():
            return default.get_secret_value()  # a default in the source is no secret
        case _:
            return str(default)
