"""Variables that look like settings and are none: typing errors, as a rule."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from broker.settings.load import Level, surroundings
from broker.settings.options import options

# What Kubernetes sets for every service, here for one named "rabbitmq" or "broker".
_INJECTED = re.compile(r"\w+_SERVICE_(HOST|PORT\w*)|\w+_PORT_\d+_(TCP|UDP|SCTP)\w*")
_INJECTED_PORT = re.compile(r"(tcp|udp|sctp)://\S+")


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A variable that nothing reads, and the setting that may have been meant."""

    variable: str
    origin: Level
    nearest: str | None

    def __str__(self) -> str:
        meant = f": did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.variable} ({self.origin}) is unknown{meant}"


def unknown_variables() -> Iterator[UnknownVariable]:
    """Yield the variables whose names begin as those of settings do, and that nothing reads.

    Raises:
        SettingsError: There is a `.env` that cannot be read or parsed.
    """
    known = [option.variable for option in options()]
    prefixes = tuple({f"{name.partition('_')[0]}_" for name in known})
    for level, variables in surroundings().items():
        for name, value in sorted(variables.items()):
            variable = name.upper()
            if variable in known or not variable.startswith(prefixes):
                continue
            if _INJECTED.fullmatch(variable) or _INJECTED_PORT.fullmatch(value):
                continue
            [*nearest] = get_close_matches(variable, known, n=1, cutoff=0.7)
            yield UnknownVariable(variable, level, nearest[0] if nearest else None)
