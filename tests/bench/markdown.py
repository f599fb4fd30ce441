"""Sections and tables in Markdown, line by line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence


def section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from ("", f"### {title}", "")
    yield from lines


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def side_by_side(
    head: Sequence[str], keys: int, rows: Mapping[str, Iterable[Sequence[str]]]
) -> Iterator[str]:
    """Return one table of what was measured on several versions of RabbitMQ.

    Args:
        keys: Rows stand together that have as many first cells in common; the version follows.
        rows: By version.
    """
    together: dict[tuple[str, ...], list[Sequence[str]]] = {}
    for version, mine in rows.items():
        for row in mine:
            group = together.setdefault(tuple(row[:keys]), [])
            group.append((*row[:keys], version, *row[keys:]))
    return table(
        (*head[:keys], "RabbitMQ", *head[keys:]),
        (row for group in together.values() for row in group),
    )
