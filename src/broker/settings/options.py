"""The settings as a list of options, for the command line and its help."""

from collections.abc import Iterator
from dataclasses import dataclass

from broker.settings.model import Settings
from broker.settings.secret_files import SUFFIX
from broker.settings.setting import settings_of


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as text.

    Attributes:
        name: The field's name, or the secret's with `_file` behind it.
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
    for one in settings_of(Settings):
        if not one.is_secret:
            yield Option(one.name, one.description, written(one.default))
            continue
        file = one.name + SUFFIX
        warning = f"Arguments are visible to others: prefer the variable or {file.upper()}."
        yield Option(one.name, f"{one.description} {warning}", written(one.default))
        yield Option(file, f"File to read {one.variable} from.", None)


def written(value: object) -> str | None:
    """Return a setting's value as one would write it, None when there is none."""
    match value:
        case None | ():
            return None
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
