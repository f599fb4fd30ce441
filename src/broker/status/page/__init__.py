"""The status page: one self-contained document, and the policy that lets nothing else run in it.

`page.html` refers to `page.css` and `page.js`; both are put into it, so that the page needs one
request, and a proxy needs to let one path through.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib import resources

import msgspec


class Page(msgspec.Struct, frozen=True):
    """The status page, ready to be served with a header."""

    document: bytes
    content_security_policy: str


@cache
def status_page() -> Page:
    """Return the status page; its files are read at the first call."""
    files = resources.files(__name__)
    markup, style, script = (
        files.joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    document = markup.replace('<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    document = document.replace(' src="page.js">', f">{script}")
    return Page(document.encode(), _policy(style, script))


def _policy(style: str, script: str) -> str:
    # Names of agents come from anywhere. Should one ever get into the markup, it is inert.
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "connect-src 'self'",
            "img-src data:",  # the icon
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
