"""The document is self-contained, and its policy fits it."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from broker.status.page import status_page
from broker.telemetry.tally import DEAD_LETTERED, MessageOutcome


class _Document(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inlined: dict[str, list[str]] = {"style": [], "script": []}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem in self.inlined:
            self.inlined[self.cdata_elem].append(data)


@pytest.fixture
def document() -> _Document:
    document = _Document()
    document.feed(status_page().document.decode())
    document.close()
    return document


def _directives(policy: str) -> dict[str, str]:
    return dict(directive.split(" ", 1) for directive in policy.split("; "))


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_only_the_style_and_the_script_of_the_document_are_allowed(document: _Document) -> None:
    allowed = _directives(status_page().content_security_policy)

    assert allowed["style-src"] == _hash("".join(document.inlined["style"]))
    assert allowed["script-src"] == _hash("".join(document.inlined["script"]))
    elements = [tag for tag, _ in document.elements if tag in {"style", "script"}]
    assert elements == ["style", "script"]


def test_nothing_else_is_allowed() -> None:
    allowed = _directives(status_page().content_security_policy)
    del allowed["style-src"], allowed["script-src"]

    assert allowed == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }


def test_it_refers_to_nothing_outside(document: _Document) -> None:
    for tag, attributes in document.elements:
        assert "src" not in attributes, (tag, attributes)
        href = attributes.get("href") or ""
        # Links lead elsewhere on the same server, wherever a proxy puts it.
        is_link = tag == "a" and ":" not in href and not href.startswith("/")
        assert not href or is_link or href.startswith("data:"), (tag, attributes)
    style = "".join(document.inlined["style"])
    assert "url(" not in style
    assert "@import" not in style


def test_it_has_no_attribute_that_the_policy_forbids(document: _Document) -> None:
    for tag, attributes in document.elements:
        forbidden = [name for name in attributes if name == "style" or name.startswith("on")]
        assert not forbidden, (tag, attributes)


def test_each_outcome_has_a_label(document: _Document) -> None:
    script = "".join(document.inlined["script"])
    [labels] = re.findall(r"const OUTCOMES = \{(.*?)\}", script, re.DOTALL)
    assert re.findall(r"^ *(\w+):", labels, re.MULTILINE) == [*MessageOutcome, DEAD_LETTERED]
