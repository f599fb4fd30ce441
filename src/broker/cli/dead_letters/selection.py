"""Which dead letters a command is about."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from broker.amqp.admin import RABBITMQS_REASONS, AdminSession
from broker.cli.dead_letters.letter import Letter
from broker.cli.dead_letters.window import SIZE, Window, newest, windows
from broker.cli.option_types import is_duration, seconds, within
from broker.core.messages import RejectReason

_REASONS = (*(reason.value for reason in RejectReason), *RABBITMQS_REASONS)


def _are_reasons(_: Any, reasons: tuple[str, ...]) -> None:
    if not set(reasons) <= set(_REASONS):
        raise ValueError(f"must be one of {', '.join(_REASONS)}")


def _are_places(_: Any, numbers: tuple[int, ...]) -> None:
    if min(numbers, default=1) < 1:
        raise ValueError("must be at least 1")


type Reasons = Annotated[
    tuple[str, ...], Parameter(negative="", show_default=False, validator=_are_reasons)
]
type Repeated = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
type Duration = Annotated[str | None, Parameter(validator=is_duration)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the options say; each narrows the choice.

    Attributes:
        id: Only those with this message id, in AMQP or in the body; may be repeated.
        number: Only the one at this place in the list; may be repeated.
        reason: Only those with this reason; may be repeated.
        queue: Only those that came from this queue; may be repeated.
        older_than: Only those dead-lettered longer ago than this: 90s, 15m, 2h or 3d.
        newer_than: Only those dead-lettered since.
        oldest: How many at most, the oldest first.
        newest: How many of the newest at most.
    """

    id: Repeated = ()
    number: Annotated[
        tuple[int, ...], Parameter(negative="", show_default=False, validator=_are_places)
    ] = ()
    reason: Reasons = ()
    queue: Repeated = ()
    older_than: Duration = None
    newer_than: Duration = None
    oldest: Annotated[int | None, Parameter(name=("--oldest", "--limit"), validator=within(1))] = (
        None
    )
    newest: Annotated[int | None, Parameter(validator=within(1, SIZE))] = None

    def matching(self, now: datetime) -> Callable[[Letter], bool]:
        """Return what tells whether a letter is chosen, however many are."""
        oldest, youngest = _duration(self.newer_than), _duration(self.older_than)
        by_label = (self.reason, self.queue, self.older_than, self.newer_than)
        needs_label = any(by_label)

        def matches(letter: Letter) -> bool:
            if self.number and letter.number not in self.number:
                return False
            if self.id and not letter.has_id(self.id):
                return False
            label, age = letter.label, letter.age(now)
            if label is None or age is None:  # no dead letter of a broker
                return not needs_label
            return (
                (not self.reason or label.reason in self.reason)
                and (not self.queue or label.queue in self.queue)
                and (youngest is None or age > youngest)
                and (oldest is None or age < oldest)
            )

        return matches

    async def windows(
        self,
        session: AdminSession,
        queue: str,
        matches: Callable[[Letter], bool],
        may_go: Callable[[Letter], bool] = lambda _: True,
    ) -> AsyncIterator[Window]:
        """Yield the chosen letters of a queue; see `windows`.

        Args:
            matches: What `matching` returned.
            may_go: Called once for each letter that is to be chosen; those for which it is false
                are not, and do not count as one of the oldest.
        """
        if self.newest is not None:
            found = windows(session, queue, is_wanted=matches, limit=None)
            async for window in newest(found, self.newest):
                yield msgspec.structs.replace(window, chosen=list(filter(may_go, window.chosen)))
            return

        def is_wanted(letter: Letter) -> bool:
            return matches(letter) and may_go(letter)

        limit = self.oldest
        if self.number:  # each is one letter: there is no need to look further
            limit = min(limit or len(self.number), len(set(self.number)))
        async for window in windows(session, queue, is_wanted=is_wanted, limit=limit):
            yield window


def _agree(_: Any, selection: Selection) -> None:
    if selection.oldest is not None and selection.newest is not None:
        raise ValueError("--oldest and --newest must not be combined")


EVERYTHING = Selection()
# Its fields are options of their own.
type Selected = Annotated[Selection, Parameter("*", validator=_agree)]


def _duration(text: str | None) -> timedelta | None:
    return timedelta(seconds=seconds(text)) if text is not None else None
