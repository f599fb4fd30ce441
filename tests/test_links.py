"""Links between documents lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

FULL_OF_LINKS = {"operations.md", "protocol.md"}


def text_of(document: Path) -> str:
    """Return what a document says outside of code."""
    return re.sub(
        r"^```.*?^```|`[^`\n]*`",
        _masked,
        document.read_text("utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )


def _masked(code: re.Match[str]) -> str:
    # The name of a heading may be code, without its quotes.
    return "" if code[0].startswith("```") else code[0].strip("`").translate({ord("["): "("})


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(document), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_what_is_there(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(document))
    assert len(links) > 10 or document.name not in FULL_OF_LINKS
    for target in links:
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        is_there = path.is_dir() if name.endswith("/") else path.is_file()
        assert is_there, f"{target} does not exist"
        if anchor:
            assert anchor in anchors(path), f"{path.name} has no chapter {anchor}"


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 140
