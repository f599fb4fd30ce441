"""The agents that may receive one message, as a routing policy sees them."""

from collections.abc import Callable, Iterator, Sequence

from broker.core.agent import Agent

type Find = Callable[[str], Agent | None]


class Agents:
    """Who may receive a message: never its sender, and only who has what it requires.

    Read-only, and to be used before the policy returns: agents come and go afterwards.

    Args:
        among: Agents online, one of which may have to be left out.
        left_out: The place of that one in the list, or None.
        find: Returns who may receive by an id, or None.
        random: Returns a float in [0.0, 1.0).
    """

    __slots__ = ("_among", "_count", "_find", "_left_out", "_random")

    def __init__(
        self,
        among: Sequence[Agent],
        left_out: int | None,
        find: Find,
        random: Callable[[], float],
    ) -> None:
        self._among = among
        self._left_out = len(among) if left_out is None else left_out
        self._count = len(among) - (left_out is not None)
        self._find = find
        self._random = random

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Agent]:
        for place, agent in enumerate(self._among):
            if place != self._left_out:
                yield agent

    def get(self, agent_id: str) -> Agent | None:
        """Return the agent with an id; None if there is none that may receive. O(1)."""
        return self._find(agent_id)

    def random(self) -> Agent:
        """Choose one, each with the same chance. O(1).

        Raises:
            IndexError: There is none.
        """
        return self._at(int(self._random() * self._count))

    def sample(self, count: int) -> Sequence[Agent]:
        """Choose several different ones in random order, all if there are no more. O(count)."""
        if count == 2 <= self._count:  # noqa: PLR2004 - the usual number, and thus made fast
            first = int(self._random() * self._count)
            second = int(self._random() * (self._count - 1))
            return self._at(first), self._at(second + (second >= first))
        # Fisher and Yates' shuffle, as far as it is needed, of places that move when drawn.
        moved: dict[int, int] = {}
        chosen = []
        for step in range(min(count, self._count)):
            drawn = step + int(self._random() * (self._count - step))
            chosen.append(self._at(moved.get(drawn, drawn)))
            moved[drawn] = moved.get(step, step)
        return chosen

    def _at(self, place: int) -> Agent:
        # Places from that of the one left out on move up by one.
        return self._among[place + (place >= self._left_out)]
