"""Alerts and dashboard ask for metrics that a real broker has."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from broker.telemetry.tally import DEAD_LETTERED, MessageOutcome
from tests.deploy.conftest import Get
from tests.deploy.repository import read

[GROUP] = yaml.safe_load(read("deploy/prometheus/alerts.yaml"))["groups"]
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"]}
DASHBOARD = json.loads(read("deploy/grafana/broker.json"))
# What Prometheus adds, and what the metrics without samples have.
TARGET_LABELS = {"instance", "job"}
LABELS_WITHOUT_SAMPLES = {"broker_messages_received_total": {"queue", "type"}}
SUPERSEDED = {"broker_messages_routed_total", "broker_reconnects_total"}

type Metrics = Mapping[str, Mapping[str, set[str]]]


@pytest.fixture(scope="module")
def metrics(get: Get) -> Metrics:
    """The metrics by name, each with its labels and their values."""
    status, text = get("/metrics")
    assert status == 200
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        suffix = "_total" if family.type == "counter" else ""
        found[f"{family.name}{suffix}"] = {}
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    for metric, names in LABELS_WITHOUT_SAMPLES.items():
        assert found[metric] == {}
        found[metric] = {name: set() for name in names}
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for alert, rule in ALERTS.items():
        yield alert, rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_what_is_asked_for_exists(where: str, expression: str, metrics: Metrics) -> None:
    asked = re.findall(r"\b((?:broker|process)_\w+)(?:\{([^}]*)\})?", expression)
    assert asked or where == "BrokerDown"
    known = set(TARGET_LABELS)
    for name, matchers in asked:
        assert name in metrics, name
        known |= metrics[name].keys()
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            if label in TARGET_LABELS:
                continue
            assert set(values.split("|")) <= metrics[name][label], (name, label)
    for labels in re.findall(r"(?:by|on) ?\(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known


def test_the_outcomes_are_all_there(metrics: Metrics) -> None:
    decided = {one.value for one in MessageOutcome}
    for name in ("broker_message_outcomes_total", "broker_messages_routed_total"):
        assert metrics[name]["outcome"] == decided | {DEAD_LETTERED}


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_is_wrong_and_what_to_read(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"] == f"docs/operations.md#{name.lower()}"
    assert f"\n### {name}\n" in read("docs/operations.md")
    for label in re.findall(r"\$labels\.(\w+)", annotations["description"]):
        aggregations = re.findall(r"sum by \(([^)]*)\)", rule["expr"])
        assert label in {"instance", "queue", "reason", "transport"}
        assert all(label in labels for labels in aggregations)


def test_no_alert_is_for_a_peer_that_is_merely_slow_to_come_back() -> None:
    for name in ("BrokerNotReady", "BrokerRabbitmqDisconnected", "BrokerServerDisconnected"):
        assert "for" in ALERTS[name]


def test_the_dashboard_is_complete(metrics: Metrics) -> None:
    shown = {
        re.sub(r"_bucket$", "", name)
        for where, expression in expressions()
        if where not in ALERTS
        for name in re.findall(r"\bbroker_\w+", expression)
    }
    own = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in metrics if name.startswith("broker_")
    }
    # Published is close to what came of the messages.
    assert own - shown == {"broker_messages_published_total", *SUPERSEDED}


def test_nothing_asks_for_what_is_superseded() -> None:
    for where, expression in expressions():
        assert not SUPERSEDED.intersection(re.findall(r"\bbroker_\w+", expression)), where


def test_no_panel_lies_upon_another() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(identifiers) == len(set(identifiers))
