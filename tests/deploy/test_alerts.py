"""Alerts fire when they should, as far as Prometheus' own tool is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.repository import ROOT, read
from tests.deploy.test_monitoring import ALERTS

PROMTOOL = shutil.which("promtool")
RULES = "deploy/prometheus/alerts.yaml"
FIRING = "tests/deploy/alerts_test.yaml"
SILENT = "tests/deploy/alerts_silent_test.yaml"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    for file in (RULES, FIRING, SILENT):
        shutil.copy(ROOT / file, tmp_path)
    tests = [Path(file).name for file in (FIRING, SILENT)]
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", *tests]):
        done = subprocess.run(
            [PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_waits_and_fires() -> None:
    waits, fires = set[str](), set[str]()
    for cause in yaml.safe_load(read(FIRING))["tests"]:
        for look in cause["alert_rule_test"]:
            (fires if look.get("exp_alerts") else waits).add(look["alertname"])
    assert fires == waits == set(ALERTS)


def test_silence_is_not_for_lack_of_series() -> None:
    asked = {
        metric
        for rule in ALERTS.values()
        for metric in re.findall(r"\b(?:up\b|(?:broker|process)_\w+)", rule["expr"])
    }
    for time in yaml.safe_load(read(SILENT))["tests"]:
        given = {series["series"].partition("{")[0] for series in time["input_series"]}
        assert given >= asked, time["name"]
        [look] = time["promql_expr_test"]
        assert look["expr"] == 'count_over_time(ALERTS{alertstate="firing"}[1d])'
        assert not look.get("exp_samples")
