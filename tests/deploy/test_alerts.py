"""Alerts fire when they should, as far as Prometheus' own tool is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.repository import ROOT

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    for file in ("deploy/prometheus/alerts.yaml", "tests/deploy/alerts_test.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(
            [PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
