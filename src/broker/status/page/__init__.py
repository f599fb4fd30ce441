"""The status page and the runbook, and the policy that lets nothing else run in them.

The page is `page.html` with the modules and styles next to it. There is nothing to build: a
browser gets the files as they stand.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec

from broker.status.page.runbook import runbook

__all__ = ["CONTENT_SECURITY_POLICY", "Page", "PageFile", "runbook", "status_page"]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        # Names of agents come from anywhere. Should one ever get into the markup, it is inert.
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "img-src data:",  # the icon
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}


class PageFile(msgspec.Struct, frozen=True):
    """A module or a style."""

    content: bytes
    media_type: str


class Page(msgspec.Struct, frozen=True):
    """The status page, and by name the files that it refers to below `page/`."""

    document: bytes
    files: Mapping[str, PageFile]


@cache
def status_page() -> Page:
    """Return the status page; its files are read at the first call."""
    found = {file.name: file for file in resources.files(__name__).iterdir()}
    files = {
        name: PageFile(file.read_bytes(), media_type)
        for name, file in found.items()
        for ending, media_type in _MEDIA_TYPES.items()
        if name.endswith(ending)
    }
    return Page(found["page.html"].read_bytes(), files)
