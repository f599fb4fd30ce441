"""What documents take from elsewhere: each part stands between two marks that name it.

    <!-- generated: messages -->
    <!-- end of messages -->

A part that is named like a file is that file, as code.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.documents.figures import arithmetic, performance, policies, reliability, scaling
from tests.documents.messages import message_tables
from tests.documents.settings import settings_reference

ROOT = Path(__file__).parents[2]

PARTS: Mapping[str, Callable[[], str]] = {
    "arithmetic": arithmetic,
    "messages": message_tables,
    "performance": performance,
    "policies": policies,
    "reliability": reliability,
    "scaling": scaling,
    "settings": settings_reference,
}

_MARKED = re.compile(
    r"(?P<begin><!-- generated: (?P<name>\S+) -->\n).*?(?P<end><!-- end of (?P=name) -->)",
    re.DOTALL,
)


def documents() -> Iterator[Path]:
    """Return the documents that have generated parts."""
    for path in sorted((ROOT / "docs").glob("*.md")):
        if _MARKED.search(path.read_text(encoding="utf-8")):
            yield path


def renewed(document: str) -> str:
    """Return a document with its parts as they are now."""
    return _MARKED.sub(lambda part: f"{part['begin']}{_part(part['name'])}{part['end']}", document)


def renew() -> Iterator[Path]:
    """Renew the documents, and return those that have changed."""
    for path in documents():
        before = path.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            yield path


def _part(name: str) -> str:
    make = PARTS.get(name)
    if make is not None:
        return make()
    code = (ROOT / name).read_text(encoding="utf-8")
    return f"\n```python\n{code}```\n\n"
