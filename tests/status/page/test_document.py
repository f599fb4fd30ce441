"""The page and the runbook refer to nothing outside, and their policy fits them."""

import re
from html.parser import HTMLParser

import pytest

from broker.status.page import CONTENT_SECURITY_POLICY, runbook, status_page
from broker.telemetry.tally import DEAD_LETTERED, MessageOutcome
from tests.deploy.repository import read

type Element = tuple[str, dict[str, str | None]]

DOCUMENTS = {"page": status_page().document.decode(), "runbook": runbook().decode()}
FILES = {name: file.content.decode() for name, file in status_page().files.items()}


class _Document(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.fixture(params=sorted(DOCUMENTS))
def elements(request: pytest.FixtureRequest) -> list[Element]:
    return _Document(DOCUMENTS[request.param]).elements


def test_only_what_the_page_needs_is_allowed() -> None:
    allowed = dict(directive.split(" ", 1) for directive in CONTENT_SECURITY_POLICY.split("; "))
    assert allowed == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }


def test_all_files_are_its_own(elements: list[Element]) -> None:
    for tag, attributes in elements:
        reference = attributes.get("src") or attributes.get("href") or ""
        match tag:
            case "link" if reference.startswith("data:"):
                pass
            case "link" | "script":
                assert reference.removeprefix("page/") in FILES, reference
            case _:
                # Links lead elsewhere on the same server, wherever a proxy puts it.
                assert "src" not in attributes, (tag, attributes)
                assert ":" not in reference, reference
                assert not reference.startswith("/"), reference


def test_modules_import_each_other_and_nothing_else() -> None:
    imported = {
        name
        for content in FILES.values()
        for name in re.findall(r'^} from "(.*)"|^import .* from "(.*)"', content, re.MULTILINE)
        for name in name
        if name
    }
    in_the_page = {"./loading.js", "./main.js"}
    assert imported == {f"./{name}" for name in FILES if name.endswith(".js")} - in_the_page
    for name, content in FILES.items():
        assert "url(" not in content, name
        assert "@import" not in content, name


def test_it_has_no_attribute_that_the_policy_forbids(elements: list[Element]) -> None:
    for tag, attributes in elements:
        forbidden = [name for name in attributes if name == "style" or name.startswith("on")]
        assert not forbidden, (tag, attributes)


def test_no_file_is_long() -> None:
    for name, content in {**FILES, **DOCUMENTS}.items():
        assert name == "runbook" or content.count("\n") <= 350, name


def test_each_outcome_has_a_label() -> None:
    labels = re.findall(r"^  (\w+): \"", FILES["outcomes.js"], re.MULTILINE)
    assert sorted(labels) == sorted([*MessageOutcome, DEAD_LETTERED])


def test_each_chapter_of_the_runbook_can_be_linked_to() -> None:
    anchors = {attributes.get("id") for _, attributes in _Document(DOCUMENTS["runbook"]).elements}
    headings = re.findall(
        r"^##+ (.+)$",
        re.sub(r"```.*?```", "", read("docs/operations.md"), flags=re.DOTALL),
        re.MULTILINE,
    )
    assert len(headings) > 30
    assert anchors >= {heading.lower().replace(" ", "-") for heading in headings}
    checks = re.findall(r"^  (\w+): \(", FILES["verdict.js"], re.MULTILINE)
    assert {"rabbitmq", "alarm", "consumers", "queues", "server", "registry"} < set(checks)
    assert anchors >= {*checks, "dead-letters"}


def test_links_within_the_runbook_lead_somewhere() -> None:
    elements = _Document(DOCUMENTS["runbook"]).elements
    anchors = {attributes.get("id") for _, attributes in elements}
    links = [attributes["href"] for tag, attributes in elements if tag == "a"]
    assert links.pop(0) == "./"
    assert len(links) > 20
    for link in links:
        assert link is not None
        assert link.removeprefix("#") in anchors


def test_the_package_has_the_runbook() -> None:
    project = read("pyproject.toml")
    assert '"docs/operations.md" = "broker/status/page/operations.md"' in project
    assert "docs/operations.md" in read("Dockerfile")
