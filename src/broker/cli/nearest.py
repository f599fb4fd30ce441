"""Which name may have been meant: near ones only, because a wrong suggestion misleads."""

from collections.abc import Iterable, Sequence

_SHORT = 4
"""Letters up to which one slip makes another word of a name."""
_LEAST_PART = 3
_MOST = 3


def nearest(written: str, names: Iterable[str]) -> Sequence[str]:
    """Return the names that were most likely meant, three at most; none if no name is near.

    That is those with the fewest slips (a letter missing, added, replaced, or two swapped), or
    else those that begin or end with what was written.
    """
    known = sorted(set(names))
    allowed = 1 if len(written) <= _SHORT else 2
    slips = {name: _slips(written, name) for name in known}
    fewest = min(slips.values(), default=allowed + 1)
    if fewest <= allowed:
        found = [name for name in known if slips[name] == fewest]
    elif len(written) >= _LEAST_PART:
        found = [name for name in known if _is_part(written, name)]
    else:
        found = []
    return found if len(found) <= _MOST else []


def did_you_mean(names: Sequence[str]) -> str | None:
    """Return the question for names that may have been meant; None without any."""
    return f"did you mean {' or '.join(names)}?" if names else None


def _is_part(written: str, name: str) -> bool:
    return name.startswith(written) or name.endswith(f"-{written}")


def _slips(one: str, other: str) -> int:
    """Return the distance of Damerau and Levenshtein, no letter moved twice."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one):
        above, row = rows[-1], [i + 1]
        for j, its in enumerate(other):
            slips = min(above[j + 1] + 1, row[j] + 1, above[j] + (letter != its))
            if i and j and (letter, one[i - 1]) == (other[j - 1], its):
                slips = min(slips, rows[-2][j - 1] + 1)
            row.append(slips)
        rows.append(row)
    return rows[-1][-1]
