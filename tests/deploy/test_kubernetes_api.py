"""The manifests, merged, are what the API of Kubernetes takes, and mean what they say."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kustomize import DIRECTORY, KUBECTL, merged, with_options
from tests.deploy.repository import ROOT, read

VERSIONS = ["1.25", "1.37"]
VALIDATOR = ROOT / ".venv-kubernetes"
FOREIGN = {"PodMonitor"}
"""Kinds of the Prometheus Operator, for which Kubernetes has no schema."""

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed"),
]


@pytest.fixture(scope="module")
def validator() -> str:
    """The validator, which is installed where only these tests see it."""
    made = subprocess.run(
        [ROOT / "scripts/environment", VALIDATOR.name, "requirements/kubernetes.txt"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"kubernetes-validate cannot be installed: {made.stderr[-200:]}")
    return str(VALIDATOR / "bin" / "kubernetes-validate")


@pytest.fixture(params=["as they are", "with all options"])
def manifests(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    directory = tmp_path / "kubernetes"
    shutil.copytree(DIRECTORY, directory)
    if request.param == "with all options":
        kustomization = directory / "kustomization.yaml"
        kustomization.write_text(with_options(kustomization.read_text()))
    file = tmp_path / "merged.yaml"
    file.write_text(merged(directory))
    return file


def objects(manifests: Path) -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(manifests.read_text())}


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_them(version: str, manifests: Path, validator: str) -> None:
    done = subprocess.run(
        [validator, "--strict", "--kubernetes-version", version, manifests],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count(" passed for resource ") == len(objects(manifests).keys() - FOREIGN), said


def test_the_documented_versions_are_the_ones_that_were_tried() -> None:
    assert f"Kubernetes {VERSIONS[0]} and {VERSIONS[-1]}" in read("docs/operations.md")


def test_the_pod_gets_its_settings_and_its_image(manifests: Path) -> None:
    found = objects(manifests)
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    config = found["ConfigMap"]
    assert config["metadata"]["name"].startswith("agent-broker-")  # and a hash of its content
    assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    assert config["data"]["WEBSOCKET_URL"] == "ws://central-server:8765/ws"
    assert container["image"] == "agent-broker:latest"


def test_several_are_replaced_one_after_the_other(manifests: Path) -> None:
    deployment = objects(manifests)["Deployment"]["spec"]
    if deployment["replicas"] == 1:
        assert deployment["strategy"] == {"type": "Recreate"}
    else:
        assert deployment["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
        }
