"""What is declared of a setting: its default, how text becomes its value, and what it means."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

_KEY = "setting"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        parse: Turns text into its value, or raises `ValueError` with a text that reads on from
            the variable's name ("must ...").
        description: What it means, in a sentence for a person.
        is_secret: Whether it must not be shown, and has a `_FILE` variable.
    """

    name: str
    default: object
    parse: Callable[[str], object]
    description: str
    is_secret: bool

    @property
    def variable(self) -> str:
        """The environment variable."""
        return self.name.upper()


def setting[T](
    default: T, parse: Callable[[str], T], description: str, *, is_secret: bool = False
) -> T:
    """Declare a field of a dataclass as a setting; see `Setting`."""
    details = (parse, description, is_secret)
    return field(default=default, repr=not is_secret, metadata={_KEY: details})


def settings_of(declared: type[Any]) -> Iterator[Setting]:
    """Yield the settings of a dataclass, in order."""
    for one in fields(declared):
        if _KEY in one.metadata:
            yield Setting(one.name, one.default, *one.metadata[_KEY])
