"""The status page: one self-contained document, and the policy that lets nothing else run in it.

`page.html` refers to `page.css` and `page.js`; both are put into it, so that the page needs one
request, and a proxy needs to let one path through.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib import resources

import msgspec

_STYLE_REFERENCE = '<link rel="stylesheet" href="page.css">'
_SCRIPT_REFERENCE = '<script type="module" src="page.js"></script>'


class Page(msgspec.Struct, frozen=True):
    """The status page, ready to be served.

    Attributes:
        document: The HTML, in UTF-8.
        content_security_policy: The value of the header of that name that belongs to it.
    """

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
    return assemble(markup, style, script)


def assemble(markup: str, style: str, script: str) -> Page:
    """Put a style sheet and a script into the document that refers to them.

    Args:
        markup: HTML that refers to `page.css` and `page.js`, once each.
        style: The style sheet, without `</style`.
        script: The script, an ES module, without `</script` and `<!--`.

    Raises:
        ValueError: The markup does not refer to them, or one of them would end too early.
    """
    if "</style" in style.lower() or "</script" in script.lower() or "<!--" in script:
        raise ValueError("the style sheet or the script holds what HTML takes for its end")
    before_style, style_reference, after_style = markup.partition(_STYLE_REFERENCE)
    between, script_reference, after_script = after_style.partition(_SCRIPT_REFERENCE)
    if not (style_reference and script_reference):
        raise ValueError("the document does not refer to page.css and, after it, to page.js")
    document = (
        f"{before_style}<style>{style}</style>"
        f'{between}<script type="module">{script}</script>{after_script}'
    )
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
