"""The runbook, `docs/operations.md`, as a page: failed checks link to its chapters.

It comes with the package, because whoever needs it may have nothing but the running broker.
"""

import re
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PACKAGED = "operations.md"
"""Where a wheel has it: next to this module."""
_IN_REPOSITORY = Path(__file__).parents[4] / "docs" / "operations.md"
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@cache
def runbook() -> bytes:
    """Return the runbook as an HTML document; made at the first call, in a tenth of a second."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(_text())
    _name_headings(tokens)
    for token in tokens:
        _unlink_other_files(token.children or [])
    body = markdown.renderer.render(tokens, markdown.options, {})
    template = resources.files(__package__).joinpath("runbook.html").read_text(encoding="utf-8")
    return template.replace("<!-- the runbook -->", body).encode()


def _text() -> str:
    packaged = resources.files(__package__).joinpath(_PACKAGED)
    return (packaged if packaged.is_file() else _IN_REPOSITORY).read_text(encoding="utf-8")


def _name_headings(tokens: list[Token]) -> None:
    """Give each heading the anchor that links in the document lead to."""
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            anchor = _NOT_IN_ANCHORS.sub("", inline.content.lower()).replace(" ", "-")
            token.attrSet("id", anchor)


def _unlink_other_files(inline: list[Token]) -> None:
    """Leave only the text of links to other files of the repository, which are not served."""
    is_kept = True
    for token in inline:
        if token.type == "link_open":
            is_kept = str(token.attrGet("href")).startswith("#")
        if token.type in {"link_open", "link_close"} and not is_kept:
            token.type = "text"  # an empty one
