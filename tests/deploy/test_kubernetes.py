"""The manifests, which agree with each other and with the broker."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from dotenv import dotenv_values

from tests.deploy.conftest import Get
from tests.deploy.kustomize import DIRECTORY, with_options
from tests.deploy.repository import DEFAULTS, VARIABLES, read, settings_from

KUSTOMIZATION = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text())
WHOLE = yaml.safe_load(with_options((DIRECTORY / "kustomization.yaml").read_text()))


def objects(files: Iterable[str]) -> Mapping[str, Any]:
    found = (one for file in files for one in yaml.safe_load_all((DIRECTORY / file).read_text()))
    return {one["kind"]: one for one in found}


OBJECTS = objects(KUSTOMIZATION["resources"])
OPTIONAL = objects(set(WHOLE["resources"]) - set(KUSTOMIZATION["resources"]))
POD = OBJECTS["Deployment"]["spec"]["template"]
[CONTAINER] = POD["spec"]["containers"]
CONFIG = {name: value or "" for name, value in dotenv_values(DIRECTORY / "broker.env").items()}
ENVIRONMENT = {one["name"]: one["value"] for one in CONTAINER["env"]}


def test_all_files_belong_to_it() -> None:
    files = {path.name for path in DIRECTORY.iterdir()} - {"kustomization.yaml"}
    [config] = WHOLE["configMapGenerator"]
    [patch] = WHOLE["patches"]
    assert files == {*WHOLE["resources"], *config["envs"], patch["path"]}
    assert set(OBJECTS) == {"Deployment", "Service", "PodDisruptionBudget"}
    assert set(OPTIONAL) == {"NetworkPolicy", "PodMonitor"}
    assert "patches" not in KUSTOMIZATION


def test_the_settings_are_sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_from({**CONFIG, **ENVIRONMENT}, monkeypatch, tmp_path)
    assert settings.amqp_url is not None
    assert POD["spec"]["terminationGracePeriodSeconds"] > settings.broker_shutdown_timeout


def test_secrets_are_files_that_are_mounted() -> None:
    [mount] = CONTAINER["volumeMounts"]
    [volume] = POD["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    assert ENVIRONMENT
    for variable, path in ENVIRONMENT.items():
        assert variable.endswith("_FILE")
        assert path.startswith(f"{mount['mountPath']}/")
        key = path.removeprefix(f"{mount['mountPath']}/")
        assert f"--from-literal={key}=" in read("docs/operations.md")
    assert volume["secret"]["secretName"] == "agent-broker"


def test_what_is_offered_in_comments_exists() -> None:
    assert "BROKER_WEBSOCKET_TOKEN_FILE" in (DIRECTORY / "deployment.yaml").read_text()
    assert "BROKER_WEBSOCKET_TOKEN_FILE" in VARIABLES


def test_the_config_map_is_the_one_that_is_made() -> None:
    [reference] = CONTAINER["envFrom"]
    [config] = KUSTOMIZATION["configMapGenerator"]
    assert reference == {"configMapRef": {"name": config["name"]}}


def test_everything_selects_the_pod() -> None:
    labels = POD["metadata"]["labels"].items()
    selectors = [
        OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"],
        OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        OBJECTS["Service"]["spec"]["selector"],
        OPTIONAL["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        OPTIONAL["PodMonitor"]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels


def test_the_port_is_the_brokers() -> None:
    [port] = CONTAINER["ports"]
    assert port["containerPort"] == DEFAULTS.broker_http_port
    [service] = OBJECTS["Service"]["spec"]["ports"]
    assert service["targetPort"] == port["name"]
    assert OBJECTS["Service"]["spec"]["publishNotReadyAddresses"] is True
    assert POD["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])


def test_the_probes_ask_for_what_the_broker_answers(get: Get) -> None:
    paths = {}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = CONTAINER[name]
        assert probe["httpGet"]["port"] == CONTAINER["ports"][0]["name"]
        assert probe["timeoutSeconds"] > 3
        paths[name] = probe["httpGet"]["path"]
    # This broker has no peers: it lives, and is not ready.
    assert get(paths["startupProbe"])[0] == 200
    assert get(paths["livenessProbe"])[0] == 200
    assert get(paths["readinessProbe"])[0] == 503
    assert get(POD["metadata"]["annotations"]["prometheus.io/path"])[0] == 200


def test_it_may_do_nothing_but_its_work() -> None:
    pod, container = POD["spec"]["securityContext"], CONTAINER["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}\n" in read("Dockerfile")
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert POD["spec"]["enableServiceLinks"] is False
    assert POD["spec"]["automountServiceAccountToken"] is False


def test_a_single_broker_does_not_keep_its_node_from_being_drained() -> None:
    budget = OBJECTS["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] >= 1
    assert "minAvailable" not in budget


def test_the_network_lets_the_broker_and_those_who_ask_it_do_their_work() -> None:
    policy = OPTIONAL["NetworkPolicy"]["spec"]
    [http] = CONTAINER["ports"]
    assert [port for rule in policy["ingress"] for port in rule["ports"]] == [
        {"port": http["name"]}
    ]
    reached = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    server = urlsplit(CONFIG["WEBSOCKET_URL"]).port
    assert reached == {53, DEFAULTS.rabbitmq_port, 5671, server}


def test_the_operator_gives_the_job_the_name_that_the_alerts_expect() -> None:
    monitor = OPTIONAL["PodMonitor"]["spec"]
    job = POD["metadata"]["labels"][monitor["jobLabel"]]
    assert f'up{{job="{job}"}}' in read("deploy/prometheus/alerts.yaml")
    [endpoint] = monitor["podMetricsEndpoints"]
    assert endpoint["port"] == CONTAINER["ports"][0]["name"]
    assert endpoint["path"] == POD["metadata"]["annotations"]["prometheus.io/path"]
