"""What the documents name is there."""

import re
from pathlib import Path

import pytest

from broker.core.routing.failure import FailureReason
from tests.deploy.repository import VARIABLES
from tests.documents.generated import documents, renewed
from tests.faults.scenarios import SCENARIOS

ROOT = Path(__file__).parents[1]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
}


def test_the_tests_that_show_it_exist() -> None:
    named = re.findall(r"`(test_\w+)(…?)`", RELIABILITY)
    assert len(named) > 50
    for name, is_shortened in named:
        assert name in TESTS or (is_shortened and any(one.startswith(name) for one in TESTS)), name


def test_the_files_that_show_it_exist() -> None:
    files = re.findall(r"`([a-z_/]+\.py)`", RELIABILITY)
    assert len(files) > 20
    for file in files:
        assert (ROOT / "tests" / file).exists(), file


def test_the_scenarios_that_show_it_exist() -> None:
    lists = re.findall(r"scenarios? ((?:`\w+`(?:, )?)+)", RELIABILITY)
    named = {name for one in lists for name in re.findall(r"`(\w+)`", one)}
    assert len(named) > 15
    assert named <= SCENARIOS.keys()


def test_something_is_generated() -> None:
    assert "protocol.md" in {path.name for path in documents()}


@pytest.mark.parametrize("path", list(documents()), ids=lambda path: path.name)
def test_what_is_generated_is_as_it_would_be_now(path: Path) -> None:
    document = path.read_text(encoding="utf-8")
    assert renewed(document) == document, "renew it: ./scripts/documents"


def test_each_variable_of_the_guide_exists() -> None:
    named = set(re.findall(r"\b(?:BROKER|AMQP|WEBSOCKET)_[A-Z_]+\b", PROTOCOL))
    assert len(named) > 10
    assert named <= VARIABLES


def test_the_guide_explains_each_reason() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", PROTOCOL, re.MULTILINE)
    assert {reason.value for reason in FailureReason} <= set(explained)
