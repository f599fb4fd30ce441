"""Which dead letters a command is about."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from cyclopts import Parameter

from broker.cli.dead_letters.letter import Letter
from broker.cli.option_types import is_duration, seconds, within

type Repeated = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
type Duration = Annotated[str | None, Parameter(validator=is_duration)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the options say; each narrows the choice.

    Attributes:
        reason: Only those with this reason; may be repeated.
        queue: Only those that came from this queue; may be repeated.
        older_than: Only those dead-lettered longer ago than this: 90s, 15m, 2h or 3d.
        newer_than: Only those dead-lettered since.
        limit: How many at most, the oldest first.
    """

    reason: Repeated = ()
    queue: Repeated = ()
    older_than: Duration = None
    newer_than: Duration = None
    limit: Annotated[int | None, Parameter(validator=within(1))] = None

    @property
    def takes_everything(self) -> bool:
        """Whether any message matches, also one that is no dead letter of a broker."""
        given = (self.older_than, self.newer_than)
        return not self.reason and not self.queue and given == (None, None)

    def matching(self, now: datetime) -> Callable[[Letter], bool]:
        """Return what tells whether a letter is chosen, whatever the limit."""
        oldest, youngest = _duration(self.newer_than), _duration(self.older_than)

        def matches(letter: Letter) -> bool:
            label, age = letter.label, letter.age(now)
            if label is None or age is None:
                return self.takes_everything
            return (
                (not self.reason or label.reason in self.reason)
                and (not self.queue or label.queue in self.queue)
                and (youngest is None or age > youngest)
                and (oldest is None or age < oldest)
            )

        return matches


EVERYTHING = Selection()
# Its fields are options of their own.
type Selected = Annotated[Selection, Parameter("*")]


def _duration(text: str | None) -> timedelta | None:
    return timedelta(seconds=seconds(text)) if text is not None else None
