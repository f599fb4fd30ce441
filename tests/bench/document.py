"""Documents with figures between two marks."""

import re
from pathlib import Path

_MARKED = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)


def renew(document: Path, results: str) -> None:
    text = document.read_text(encoding="utf-8")
    document.write_text(_MARKED.sub(lambda _: f"{results}\n", text), encoding="utf-8")
