"""`broker config`: values, origins, masks, and the template for a `.env`."""

import json
import re
from pathlib import Path

import pytest
import trustme
from dotenv import dotenv_values

from broker.cli.application import execute
from broker.settings import load_settings
from broker.settings.options import options

HIDDEN = "Tr0ub4dor"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # lines are not to depend on it


def as_text(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert execute(["config", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, object]]:
    assert execute(["config", "--format", "json", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    return {line["variable"]: line for line in document["settings"]}


def test_every_setting_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines = as_text(capsys)
    variables = [option.variable for option in options() if not option.name.endswith("d_file")]
    shown = [line.split()[0] for line in lines]
    assert shown == [name for name in variables if name in shown]
    assert len(shown) == len(set(shown)) == 40
    assert re.sub(" +", " ", lines[0]) == "RABBITMQ_HOST localhost (default)"


def test_origins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(f"{HIDDEN}\n")
    Path(".env").write_text("BROKER_PREFETCH=7\nBROKER_MAX_HOPS=3\n")
    monkeypatch.setenv("BROKER_MAX_HOPS", "4")
    monkeypatch.setenv("RABBITMQ_PASSWORD_FILE", "password")
    arguments = ["--broker-name", "B", "--broker-http-port", "off"]
    lines = {line.split()[0]: line for line in as_text(capsys, *arguments)}
    assert lines["BROKER_PREFETCH"].endswith("  7  (.env)")
    assert lines["BROKER_MAX_HOPS"].endswith("  4  (environment)")
    assert lines["BROKER_NAME"].endswith("  B  (command line)")
    assert lines["BROKER_HTTP_PORT"].endswith("  off  (command line)")
    assert lines["RABBITMQ_PASSWORD"].endswith("  ***  (environment, file password)")
    assert lines["AMQP_CA_FILE"].endswith("  -  (default)")
    settings = as_json(capsys, *arguments)
    assert settings["BROKER_PREFETCH"] == {
        "variable": "BROKER_PREFETCH",
        "value": "7",
        "origin": ".env",
        "file": None,
        "used": True,
    }
    assert settings["RABBITMQ_PASSWORD"]["file"] == "password"
    assert settings["BROKER_HTTP_PORT"]["value"] == "off"
    assert settings["AMQP_CA_FILE"]["value"] is None
    assert settings["BROKER_REGISTRY_TTL"]["value"] == "60"
    assert settings["BROKER_ROUTING_POLICY"]["value"] == "random"
    assert settings["BROKER_MAX_UNANSWERED"]["value"] == "100000"
    assert settings["BROKER_FOLLOW_ADVERTISED_URL"]["value"] == "false"


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_shown(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMQP_URL", f"amqp://me:{HIDDEN}@rabbit/v,amqp://you:{HIDDEN}@hare:1")
    monkeypatch.setenv("WEBSOCKET_URL", f"wss://server/ws?token={HIDDEN}&x=y")
    monkeypatch.setenv("BROKER_WEBSOCKET_TOKEN", HIDDEN)
    monkeypatch.setenv("RABBITMQ_PASSWORD", HIDDEN)
    assert execute(["config", "--format", form]) == 0
    text = capsys.readouterr().out
    assert HIDDEN not in text
    assert "amqp://me:***@rabbit:5672/v, amqp://you:***@hare:1/%2F" in text
    assert "wss://server/ws?***" in text


def test_a_list_is_shown_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    shown = as_json(capsys, "--broker-input-queue", "a, b")
    assert shown["BROKER_INPUT_QUEUE"]["value"] == "a,b"
    assert shown["BROKER_OUTPUT_QUEUE"]["value"] == "broker_output_queue"


def test_what_amqp_url_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    lines = as_text(capsys, "--amqp-url", "amqp://rabbit", "--rabbitmq-host", "other")
    assert lines[0].endswith("other  (command line; not used, as AMQP_URL is given)")
    settings = as_json(capsys, "--amqp-url", "amqp://rabbit")
    assert [name for name, line in settings.items() if not line["used"]] == [
        "RABBITMQ_HOST",
        "RABBITMQ_PORT",
        "RABBITMQ_USER",
        "RABBITMQ_PASSWORD",
        "RABBITMQ_VHOST",
    ]


def test_escapes_what_a_terminal_would_obey(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secret, authority = tmp_path / "a\x1b[2Jb", tmp_path / "c\x1b[2Jd"
    secret.write_text(HIDDEN)
    trustme.CA().cert_pem.write_to_path(authority)
    arguments = ["--rabbitmq-password-file", str(secret), "--amqp-ca-file", str(authority)]
    text = "\n".join(as_text(capsys, *arguments, "--amqp-url", "amqps://rabbit"))
    assert "\x1b" not in text
    assert r"a\x1b[2Jb" in text
    assert r"c\x1b[2Jd" in text


class TestUnknownVariables:
    def test_are_mentioned_with_the_nearest(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BROKER_PREFETHC", HIDDEN)
        Path(".env").write_text("RABBITMQ_HOTS=x\nAMQP_ZZZ=y\nOTHER=z\n")
        assert execute(["config"]) == 0
        assert capsys.readouterr().err.splitlines() == [
            "broker: BROKER_PREFETHC (environment) is unknown: did you mean BROKER_PREFETCH?",
            "broker: AMQP_ZZZ (.env) is unknown",
            "broker: RABBITMQ_HOTS (.env) is unknown: did you mean RABBITMQ_HOST?",
        ]
        assert execute(["config", "--format", "json"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        assert HIDDEN not in captured.out
        assert json.loads(captured.out)["unknown_variables"][0] == {
            "variable": "BROKER_PREFETHC",
            "origin": "environment",
            "nearest": "BROKER_PREFETCH",
        }

    def test_what_kubernetes_injects_is_none(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in {
            "RABBITMQ_SERVICE_HOST": "10.0.0.1",
            "RABBITMQ_SERVICE_PORT": "5672",
            "RABBITMQ_SERVICE_PORT_AMQP": "5672",
            "RABBITMQ_PORT_5672_TCP": "tcp://10.0.0.1:5672",
            "RABBITMQ_PORT_5672_TCP_ADDR": "10.0.0.1",
            "BROKER_PORT": "tcp://10.0.0.2:9780",
        }.items():
            monkeypatch.setenv(name, value)
        assert as_text(capsys)


class TestWrongConfiguration:
    def test_is_named_with_what_is_unknown(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BROKER_PREFETHC", "7")
        assert execute(["config", "--rabbitmq-port", "0"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        first, second = captured.err.splitlines()
        assert first.startswith("broker: RABBITMQ_PORT must ")
        assert "BROKER_PREFETHC (environment) is unknown" in second


class TestTemplate:
    def test_is_accepted_unchanged(self, capsys: pytest.CaptureFixture[str]) -> None:
        before = load_settings()
        template = "\n".join(as_text(capsys, "--env"))
        Path(".env").write_text(template)
        assert load_settings() == before
        assert not dotenv_values(".env")

    def test_each_line_is_accepted_with_its_default(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = load_settings()
        lines = as_text(capsys, "--env")
        active = [re.sub(r"^#(?=[A-Z])", "", line) for line in lines]
        Path(".env").write_text("\n".join(active))
        assert set(dotenv_values(".env")) == {option.variable for option in options()}
        assert load_settings() == before

    def test_describes_every_setting(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = as_text(capsys, "--env")
        for number, line in enumerate(lines):
            if re.match("#[A-Z]", line):
                assert re.match("# [a-zA-Z0].*", lines[number - 1])
        assert "#BROKER_HTTP_PORT=9780" in lines
        assert "#BROKER_ROUTING_POLICY=random" in lines
        assert not any("Arguments are visible" in line for line in lines)

    def test_is_there_whatever_is_wrong(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RABBITMQ_PORT", "0")
        assert as_text(capsys, "--env")
