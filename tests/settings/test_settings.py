import codecs
from contextlib import suppress
from dataclasses import FrozenInstanceError
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from broker.settings import AmqpEndpoint, Settings, SettingsError, load_settings
from broker.settings.options import options
from broker.settings.setting import settings_of

HIDDEN = "Tr0ub4dor"

# What is set, the variable that the problem must name, and what else it must say.
WRONG: list[tuple[dict[str, str], str, str]] = [
    ({"RABBITMQ_HOST": "rabbit,,hare"}, "RABBITMQ_HOST", "not 'rabbit,,hare'"),
    ({"RABBITMQ_HOST": "rabbit:5672"}, "RABBITMQ_HOST", "host name or IP address"),
    ({"RABBITMQ_HOST": "a..b"}, "RABBITMQ_HOST", "host name or IP address"),
    ({"RABBITMQ_HOST": f"amqp://me:{HIDDEN}@rabbit"}, "RABBITMQ_HOST", "host name or IP"),
    ({"RABBITMQ_PORT": "0"}, "RABBITMQ_PORT", "from 1 to 65535, not '0'"),
    ({"RABBITMQ_PORT": "65536"}, "RABBITMQ_PORT", "from 1 to 65535, not '65536'"),
    ({"RABBITMQ_PORT": "amqp"}, "RABBITMQ_PORT", "not 'amqp'"),
    ({"RABBITMQ_PORT": "udp://10.0.0.1:5672"}, "RABBITMQ_PORT", "not 'udp://"),
    ({"RABBITMQ_PORT": "9" * 5000}, "RABBITMQ_PORT", "..."),
    ({"RABBITMQ_USER": "a\nb"}, "RABBITMQ_USER", r"not 'a\nb'"),
    ({"RABBITMQ_VHOST": "v" * 256}, "RABBITMQ_VHOST", "1 to 255 bytes"),
    ({"RABBITMQ_VHOST": "\udc80"}, "RABBITMQ_VHOST", r"not '\udc80'"),
    ({"RABBITMQ_PASSWORD": f"{HIDDEN}\n"}, "RABBITMQ_PASSWORD", "control characters"),
    ({"RABBITMQ_PASSWORD": f"{HIDDEN}\udc80"}, "RABBITMQ_PASSWORD", "UTF-8"),
    ({"RABBITMQ_PASSWORD_FILE": "/none/such"}, "RABBITMQ_PASSWORD_FILE", "No such file"),
    ({"RABBITMQ_PASSWORD_FILE": "/"}, "RABBITMQ_PASSWORD_FILE", "directory"),
    ({"RABBITMQ_PASSWORD_FILE": "/dev/zero"}, "RABBITMQ_PASSWORD_FILE", "larger than"),
    (
        {"BROKER_WEBSOCKET_TOKEN_FILE": "/none", "BROKER_WEBSOCKET_TOKEN": HIDDEN},
        "BROKER_WEBSOCKET_TOKEN_FILE",
        "must not be given together with BROKER_WEBSOCKET_TOKEN",
    ),
    ({"AMQP_URL": f"http://me:{HIDDEN}@rabbit/"}, "AMQP_URL", "start with amqp:// or amqps://"),
    ({"AMQP_URL": "amqp:rabbit"}, "AMQP_URL", "start with amqp://"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}@/"}, "AMQP_URL", "name a host"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}@rab bit/"}, "AMQP_URL", "spaces"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}@a..b/"}, "AMQP_URL", "hosts or IP addresses"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}@rab*bit/"}, "AMQP_URL", "hosts or IP addresses"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}@[::g]/"}, "AMQP_URL", "valid host"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}@rabbit:0/"}, "AMQP_URL", "port from 1 to 65535"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}@rabbit:99999/"}, "AMQP_URL", "port from 1 to 65535"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}/x@rabbit/"}, "AMQP_URL", "percent-encoded"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}%zz@rabbit/"}, "AMQP_URL", "percent-encoded"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}%ff@rabbit/"}, "AMQP_URL", "percent-encoded"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}%0a@rabbit/"}, "AMQP_URL", "control characters"),
    ({"AMQP_URL": f"amqp://{HIDDEN}@rabbit/"}, "AMQP_URL", "user and password together"),
    ({"AMQP_URL": f"amqp://:{HIDDEN}@rabbit/"}, "AMQP_URL", "empty user or password"),
    ({"AMQP_URL": f"amqps://me:{HIDDEN}@rabbit/?cafile=x"}, "AMQP_URL", "AMQP_CA_FILE"),
    ({"AMQP_URL": f"amqp://me:{HIDDEN}@rabbit/#v"}, "AMQP_URL", "must not contain '?' or '#'"),
    ({"AMQP_URL": f"amqp://rabbit/{'v' * 256}"}, "AMQP_URL", "at most 255 bytes"),
    ({"AMQP_URL": f"amqp://a,amqp://{HIDDEN}@b,amqp://c"}, "AMQP_URL", "(URL 2 of 3)"),
    ({"AMQP_CA_FILE": "/none/such"}, "AMQP_CA_FILE", "'/none/such' (No such file"),
    ({"AMQP_CA_FILE": "/dev/null"}, "AMQP_CA_FILE", "PEM"),
    ({"AMQP_CERT_FILE": "/"}, "AMQP_CERT_FILE", "readable file"),
    ({"AMQP_KEY_FILE": "/none/such"}, "AMQP_KEY_FILE", "readable file"),
    ({"WEBSOCKET_URL": "http://server/ws"}, "WEBSOCKET_URL", "start with ws:// or wss://"),
    ({"WEBSOCKET_URL": "ws:///ws"}, "WEBSOCKET_URL", "name a host"),
    ({"WEBSOCKET_URL": f"ws://me:{HIDDEN}@server"}, "WEBSOCKET_URL", "BROKER_WEBSOCKET_TOKEN"),
    ({"WEBSOCKET_URL": f"ws://{HIDDEN}@server"}, "WEBSOCKET_URL", "BROKER_WEBSOCKET_TOKEN"),
    ({"WEBSOCKET_URL": "ws://server/#x"}, "WEBSOCKET_URL", "fragment"),
    ({"WEBSOCKET_ORIGIN": "https://chat example"}, "WEBSOCKET_ORIGIN", "without spaces"),
    ({"WEBSOCKET_ORIGIN": "https://x\r\nX: y"}, "WEBSOCKET_ORIGIN", "visible ASCII"),
    ({"WEBSOCKET_ORIGIN": "https://ä"}, "WEBSOCKET_ORIGIN", "visible ASCII"),
    ({"WEBSOCKET_SUBPROTOCOL": "a b"}, "WEBSOCKET_SUBPROTOCOL", "not 'a b'"),
    ({"WEBSOCKET_SUBPROTOCOL": "a,"}, "WEBSOCKET_SUBPROTOCOL", "separated by commas"),
    ({"WEBSOCKET_SUBPROTOCOL": "a/b"}, "WEBSOCKET_SUBPROTOCOL", "such as v1.agents"),
    ({"WEBSOCKET_SUBPROTOCOL": "a,b, a"}, "WEBSOCKET_SUBPROTOCOL", "different ones"),
    ({"WEBSOCKET_SUBPROTOCOL": "a\r\nX: y"}, "WEBSOCKET_SUBPROTOCOL", "must be"),
    ({"WEBSOCKET_CA_FILE": "/none/such"}, "WEBSOCKET_CA_FILE", "readable file"),
    ({"BROKER_WEBSOCKET_TOKEN": f"{HIDDEN}\r\nX: y"}, "BROKER_WEBSOCKET_TOKEN", "line breaks"),
    ({"BROKER_WEBSOCKET_TOKEN": f"{HIDDEN} x"}, "BROKER_WEBSOCKET_TOKEN", "spaces"),
    ({"BROKER_WEBSOCKET_TOKEN": f"{HIDDEN}é"}, "BROKER_WEBSOCKET_TOKEN", "ASCII"),
    ({"BROKER_FOLLOW_ADVERTISED_URL": "maybe"}, "BROKER_FOLLOW_ADVERTISED_URL", "true or false"),
    ({"BROKER_WEBSOCKET_MAX_BYTES": "1023"}, "BROKER_WEBSOCKET_MAX_BYTES", "from 1024"),
    ({"BROKER_WEBSOCKET_SILENCE": "0.5"}, "BROKER_WEBSOCKET_SILENCE", "at least 1"),
    ({"BROKER_WEBSOCKET_SILENCE": "inf"}, "BROKER_WEBSOCKET_SILENCE", "at least 1"),
    ({"BROKER_NAME": "é" * 128}, "BROKER_NAME", "1 to 255 bytes"),
    ({"BROKER_NAME": "a\x1b[2J"}, "BROKER_NAME", r"not 'a\x1b[2J'"),
    ({"BROKER_INPUT_QUEUE": "amq.direct"}, "BROKER_INPUT_QUEUE", "'amq.'"),
    ({"BROKER_OUTPUT_QUEUE": "q" * 256}, "BROKER_OUTPUT_QUEUE", "1 to 255 bytes"),
    ({"BROKER_INPUT_QUEUE": "a,,b"}, "BROKER_INPUT_QUEUE", "not 'a,,b'"),
    ({"BROKER_INPUT_QUEUE": "a,"}, "BROKER_INPUT_QUEUE", "several separated by commas"),
    ({"BROKER_OUTPUT_QUEUE": " , "}, "BROKER_OUTPUT_QUEUE", "each of 1 to 255 bytes"),
    ({"BROKER_OUTPUT_QUEUE": "a,amq.b"}, "BROKER_OUTPUT_QUEUE", "'amq.'"),
    ({"BROKER_METADATA_QUEUE": "a\tb"}, "BROKER_METADATA_QUEUE", "control characters"),
    ({"BROKER_PREFETCH": "0"}, "BROKER_PREFETCH", "from 1 to 65535"),
    ({"BROKER_PREFETCH": "65536"}, "BROKER_PREFETCH", "from 1 to 65535"),
    ({"BROKER_MAX_MESSAGE_BYTES": "0"}, "BROKER_MAX_MESSAGE_BYTES", "from 1 to 134217728"),
    ({"BROKER_MAX_MESSAGE_BYTES": "134217729"}, "BROKER_MAX_MESSAGE_BYTES", "RabbitMQ's own"),
    ({"BROKER_MAX_AGENTS": "0"}, "BROKER_MAX_AGENTS", "at least 1, not '0'"),
    ({"BROKER_MAX_HOPS": "1.5"}, "BROKER_MAX_HOPS", "a whole number of messages"),
    ({"BROKER_MAX_HOPS": "-1"}, "BROKER_MAX_HOPS", "0 for any number, not '-1'"),
    (
        {"BROKER_ROUTING_POLICY": "round_robin"},
        "BROKER_ROUTING_POLICY",
        "random, least_outstanding, consistent_hash or package.module:name, not 'round_robin'",
    ),
    ({"BROKER_ROUTING_POLICY": "policies.fair"}, "BROKER_ROUTING_POLICY", "not 'policies.fair'"),
    ({"BROKER_ROUTING_POLICY": "policies:"}, "BROKER_ROUTING_POLICY", "not 'policies:'"),
    ({"BROKER_ROUTING_POLICY": ":fair"}, "BROKER_ROUTING_POLICY", "not ':fair'"),
    ({"BROKER_ROUTING_POLICY": "a:b:c"}, "BROKER_ROUTING_POLICY", "not 'a:b:c'"),
    ({"BROKER_ROUTING_POLICY": "a..b:c"}, "BROKER_ROUTING_POLICY", "not 'a..b:c'"),
    ({"BROKER_ROUTING_POLICY": "a/b.py:c"}, "BROKER_ROUTING_POLICY", "package.module:name"),
    ({"BROKER_ROUTING_POLICY": "a:1st"}, "BROKER_ROUTING_POLICY", "package.module:name"),
    ({"BROKER_ROUTING_POLICY": "a:b\n"}, "BROKER_ROUTING_POLICY", r"not 'a:b\n'"),
    ({"BROKER_RECEIVER": "maybe"}, "BROKER_RECEIVER", "ignore, prefer or require, not 'maybe'"),
    ({"BROKER_HOLD": "-1"}, "BROKER_HOLD", "of seconds, or 0 for not at all, not '-1'"),
    ({"BROKER_HOLD": "nan"}, "BROKER_HOLD", "not 'nan'"),
    ({"BROKER_HOLD_QUEUE": "amq.hold"}, "BROKER_HOLD_QUEUE", "'amq.'"),
    ({"BROKER_HOLD_QUEUE": "a,b\t"}, "BROKER_HOLD_QUEUE", "control characters"),
    ({"BROKER_ANSWER_TIMEOUT": "0"}, "BROKER_ANSWER_TIMEOUT", "seconds, at least 1, not '0'"),
    ({"BROKER_ANSWER_TIMEOUT": "5m"}, "BROKER_ANSWER_TIMEOUT", "not '5m'"),
    ({"BROKER_MAX_UNANSWERED": "0"}, "BROKER_MAX_UNANSWERED", "messages, at least 1, not '0'"),
    ({"BROKER_MAX_UNANSWERED": "1e5"}, "BROKER_MAX_UNANSWERED", "a whole number of messages"),
    ({"BROKER_REGISTRY_TTL": "-1"}, "BROKER_REGISTRY_TTL", "0 for never, not '-1'"),
    ({"BROKER_REGISTRY_TTL": "nan"}, "BROKER_REGISTRY_TTL", "not 'nan'"),
    ({"BROKER_REGISTRY_TTL": "60s"}, "BROKER_REGISTRY_TTL", "not '60s'"),
    ({"BROKER_SHUTDOWN_TIMEOUT": "0"}, "BROKER_SHUTDOWN_TIMEOUT", "at least 1"),
    ({"BROKER_LOG_LEVEL": "loud"}, "BROKER_LOG_LEVEL", "debug, info, warning"),
    ({"BROKER_LOG_FORMAT": "xml"}, "BROKER_LOG_FORMAT", "json, console or auto, not 'xml'"),
]

AMQPS = {"AMQP_URL": "amqps://rabbit"}
# What does not go together, seen once every value is sound by itself.
DISAGREEING: list[tuple[dict[str, str], str, str]] = [
    (
        {"BROKER_INPUT_QUEUE": "q", "BROKER_DEAD_LETTER_QUEUE": "q"},
        "BROKER_INPUT_QUEUE and BROKER_DEAD_LETTER_QUEUE",
        "different queues, not all 'q'",
    ),
    ({"BROKER_INPUT_QUEUE": "broker_output_queue"}, "BROKER_INPUT_QUEUE", "different queues"),
    (
        {"BROKER_HOLD_QUEUE": "broker_input_queue"},
        "BROKER_INPUT_QUEUE and BROKER_HOLD_QUEUE",
        "different queues, not all 'broker_input_queue'",
    ),
    (
        {"BROKER_INPUT_QUEUE": "a,b,b", "BROKER_OUTPUT_QUEUE": "c,b"},
        "BROKER_INPUT_QUEUE and BROKER_OUTPUT_QUEUE",
        "different queues, not all 'b'",
    ),
    ({"BROKER_INPUT_QUEUE": "a,b, a"}, "BROKER_INPUT_QUEUE", "each queue once, not 'a' several"),
    ({"BROKER_OUTPUT_QUEUE": "a,a,a"}, "BROKER_OUTPUT_QUEUE", "each queue once, not 'a' several"),
    ({"AMQP_CA_FILE": "ca.pem"}, "AMQP_CA_FILE", "amqps:// throughout"),
    ({"AMQP_CA_FILE": "ca.pem", "AMQP_URL": "amqps://a,amqp://b"}, "AMQP_CA_FILE", "throughout"),
    ({"AMQP_CERT_FILE": "both.pem"}, "AMQP_CERT_FILE", "amqps:// throughout"),
    ({"WEBSOCKET_CA_FILE": "ca.pem"}, "WEBSOCKET_CA_FILE", "wss://"),
    ({**AMQPS, "AMQP_KEY_FILE": "key.pem"}, "AMQP_KEY_FILE", "go with AMQP_CERT_FILE"),
    ({**AMQPS, "AMQP_CERT_FILE": "ca.pem"}, "AMQP_CERT_FILE", "private key"),
    *(
        (
            {**AMQPS, "AMQP_CERT_FILE": certificate, "AMQP_KEY_FILE": key},
            "AMQP_CERT_FILE and AMQP_KEY_FILE",
            "unencrypted private key",
        )
        for certificate, key in (("ca.pem", "key.pem"), ("cert.pem", "encrypted.pem"))
    ),
]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a CA certificate, a client's certificate and key, and both in one."""
    directory = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    client = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    client.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    client.private_key_pem.write_to_path(directory / "key.pem")
    client.private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
    key = load_pem_private_key(client.private_key_pem.bytes(), password=None)
    encrypted = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(HIDDEN.encode())
    )
    (directory / "encrypted.pem").write_bytes(encrypted)
    return directory


def problems(overrides: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides or {})
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value.problems


def test_defaults() -> None:
    settings = load_settings()
    [endpoint] = settings.amqp_endpoints
    assert endpoint == AmqpEndpoint("localhost", 5672, "guest", "guest", "/", tls=False)
    assert settings.websocket_url == "ws://localhost:8765/ws"
    assert settings.broker_websocket_token is None
    assert settings.broker_name == "BrokerService"
    assert settings.broker_input_queue == ("broker_input_queue",)
    assert settings.broker_output_queue == ("broker_output_queue",)
    assert settings.broker_metadata_queue == "agent_metadata_queue"
    assert settings.broker_advertisement_queue == "server_advertisement_queue"
    assert settings.broker_dead_letter_queue == "broker_dead_letter_queue"
    assert settings.broker_prefetch == 1000
    assert settings.broker_max_message_bytes == 1_048_576
    assert settings.broker_websocket_max_bytes == 268_435_456
    assert settings.broker_routing_policy == "random"
    assert settings.broker_receiver == "ignore"
    assert (settings.broker_hold, settings.broker_hold_queue) == (0, "broker_hold_queue")
    assert settings.broker_answer_timeout == 300
    assert settings.broker_max_unanswered == 100_000
    assert settings.broker_registry_ttl == 60
    assert settings.broker_websocket_silence == 45
    assert settings.broker_shutdown_timeout == 25
    assert settings.broker_follow_advertised_url is False
    assert (settings.broker_log_level, settings.broker_log_format) == ("info", "auto")


def test_lists_of_queues() -> None:
    given = {"broker_input_queue": "a, b ,c", "broker_output_queue": "z,y"}
    settings = load_settings(given)
    assert settings.broker_input_queue == ("a", "b", "c")
    assert settings.broker_output_queue == ("z", "y")


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        load_settings().broker_prefetch = 1  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(("variables", "named", "said"), WRONG + DISAGREEING)
def test_wrong_values_are_named_and_secrets_are_not(
    variables: dict[str, str],
    named: str,
    said: str,
    pem: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(pem)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    lines = problems()
    assert len(lines) == 1
    assert lines[0].startswith(f"{named} ")
    assert " must " in lines[0]
    assert said in lines[0]
    assert HIDDEN not in lines[0]
    assert lines[0].isprintable()
    assert len(lines[0]) < 400


def test_all_problems_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_PORT", "x")
    Path(".env").write_text("BROKER_PREFETCH=0\n")
    lines = problems({"broker_log_level": "loud", "amqp_url_file": "/none"})
    named = ["RABBITMQ_PORT", "AMQP_URL_FILE", "BROKER_PREFETCH", "BROKER_LOG_LEVEL"]
    assert [line.split()[0] for line in lines] == named


def test_all_disagreements_are_named_at_once(pem: Path) -> None:
    ca = str(pem / "ca.pem")
    queues = {"broker_input_queue": "q", "broker_output_queue": "q"}
    assert len(problems({"amqp_ca_file": ca, "websocket_ca_file": ca, **queues})) == 3


class TestPrecedence:
    def test_command_line_environment_dotenv_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert load_settings().rabbitmq_host == "localhost"
        Path(".env").write_text("RABBITMQ_HOST=from-dotenv\n")
        assert load_settings().rabbitmq_host == "from-dotenv"
        monkeypatch.setenv("RABBITMQ_HOST", "from-environment")
        assert load_settings().rabbitmq_host == "from-environment"
        assert load_settings({"rabbitmq_host": "from-line"}).rabbitmq_host == "from-line"

    def test_an_empty_value_counts_as_not_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path(".env").write_text("RABBITMQ_HOST=from-dotenv\nBROKER_NAME=\n")
        monkeypatch.setenv("RABBITMQ_HOST", "")
        monkeypatch.setenv("AMQP_URL", "")
        monkeypatch.setenv("RABBITMQ_PASSWORD_FILE", "")
        settings = load_settings({"rabbitmq_host": ""})
        assert settings.rabbitmq_host == "from-dotenv"
        assert settings.broker_name == "BrokerService"
        assert settings.amqp_url is None

    def test_amqp_url_overrides_the_rabbitmq_variables(self) -> None:
        settings = load_settings({"rabbitmq_host": "other", "amqp_url": "amqp://u:p@rabbit"})
        assert [endpoint.host for endpoint in settings.amqp_endpoints] == ["rabbit"]

    def test_unknown_variables_are_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BROKER_PORT", "tcp://10.0.0.1:80")
        monkeypatch.setenv("BROKER_SERVICE_HOST", "10.0.0.1")
        Path(".env").write_text("DJANGO_SECRET_KEY=x\nBROKER_WHATEVER=1\n")
        assert load_settings() == load_settings({"broker_name": "BrokerService"})

    def test_an_unknown_override_is_a_mistake_of_the_caller(self) -> None:
        with pytest.raises(TypeError, match="rabbitmq_hots"):
            load_settings({"rabbitmq_hots": "x"})


class TestSecretFiles:
    @pytest.fixture
    def file(self) -> Path:
        return Path("secret")

    @pytest.mark.parametrize(
        ("content", "secret"),
        [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            (" hunter2 \n", " hunter2 "),
            ("pässword", "pässword"),
        ],
    )
    def test_content(
        self, content: str, secret: str, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file.write_bytes(content.encode())
        monkeypatch.setenv("RABBITMQ_PASSWORD_FILE", str(file))
        assert load_settings().amqp_endpoints[0].password == secret

    def test_only_one_newline_is_stripped(self, file: Path) -> None:
        file.write_text("hunter2\n\n")
        [problem] = problems({"rabbitmq_password_file": str(file)})
        assert "line breaks" in problem

    @pytest.mark.parametrize(
        "content",
        [
            b"\xef\xbb\xbfhunter2\n",
            codecs.BOM_UTF16_LE + "hunter2\r\n".encode("utf-16-le"),
            codecs.BOM_UTF16_BE + "hunter2".encode("utf-16-be"),
        ],
    )
    def test_a_byte_order_mark_is_not_part_of_the_secret(self, content: bytes, file: Path) -> None:
        file.write_bytes(content)
        settings = load_settings({"rabbitmq_password_file": str(file)})
        assert settings.rabbitmq_password == "hunter2"
        settings = load_settings({"broker_websocket_token_file": str(file)})
        assert settings.broker_websocket_token == "hunter2"

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"\xff", "it is not UTF-8 text"),
            (codecs.BOM_UTF8, "it is empty"),
            (codecs.BOM_UTF16_LE + "\r\n".encode("utf-16-le"), "it is empty"),
            (codecs.BOM_UTF16_LE + b"h\0u", "it is not UTF-16 text"),
            ("hunter2".encode("utf-16-le"), "it is not UTF-8 text: it contains zero bytes"),
            (codecs.BOM_UTF32_LE + "hunter2".encode("utf-32-le"), "it contains zero bytes"),
        ],
    )
    def test_no_secret_in_it(self, content: bytes, reason: str, file: Path) -> None:
        file.write_bytes(content)
        [problem] = problems({"rabbitmq_password_file": str(file)})
        assert problem.startswith("RABBITMQ_PASSWORD_FILE must name a readable file")
        assert problem.endswith(f"{reason})")

    def test_every_secret_has_one(self, file: Path) -> None:
        file.write_text("amqps://u:p@rabbit\n")
        [endpoint] = load_settings({"amqp_url_file": str(file)}).amqp_endpoints
        assert endpoint.tls
        file.write_text("token\n")
        settings = load_settings({"broker_websocket_token_file": str(file)})
        assert settings.broker_websocket_token == "token"

    def test_the_file_of_a_higher_level_wins(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path(".env").write_text("RABBITMQ_PASSWORD=from-dotenv\n")
        file.write_text("from-file")
        monkeypatch.setenv("RABBITMQ_PASSWORD_FILE", str(file))
        assert load_settings().rabbitmq_password == "from-file"
        given = load_settings({"rabbitmq_password": "from-line"})
        assert given.rabbitmq_password == "from-line"

    def test_a_value_of_a_higher_level_wins_over_a_missing_file(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path(".env").write_text("RABBITMQ_PASSWORD_FILE=/none/such\n")
        monkeypatch.setenv("RABBITMQ_PASSWORD", "from-environment")
        assert load_settings().rabbitmq_password == "from-environment"

    def test_both_in_dotenv(self) -> None:
        Path(".env").write_text(f"AMQP_URL=amqp://u:{HIDDEN}@h\nAMQP_URL_FILE=/none\n")
        assert problems() == ("AMQP_URL_FILE must not be given together with AMQP_URL",)


class TestEndpoints:
    def test_several_hosts(self) -> None:
        hosts = {"rabbitmq_host": "rabbit-1, 10.0.0.2,fd00::3 ,[fd00::4]", "rabbitmq_port": "5673"}
        login = {"rabbitmq_user": "me", "rabbitmq_password": "hunter2", "rabbitmq_vhost": "a/b"}
        settings = load_settings({**hosts, **login})
        assert [str(endpoint) for endpoint in settings.amqp_endpoints] == [
            f"amqp://me@{host}:5673/a%2Fb"
            for host in ("rabbit-1", "10.0.0.2", "[fd00::3]", "[fd00::4]")
        ]
        assert {endpoint.password for endpoint in settings.amqp_endpoints} == {"hunter2"}

    @pytest.mark.parametrize("port", ["tcp://10.0.0.1:5673", "tcp://[fd00::1]:5673", "5673"])
    def test_the_port_kubernetes_injects(self, port: str) -> None:
        assert load_settings({"rabbitmq_port": port}).rabbitmq_port == 5673

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("amqp://rabbit", ("rabbit", 5672, "guest", "guest", "/", False)),
            ("amqp://rabbit/", ("rabbit", 5672, "guest", "guest", "/", False)),
            ("amqp://rabbit/%2F", ("rabbit", 5672, "guest", "guest", "/", False)),
            ("amqp://rabbit//", ("rabbit", 5672, "guest", "guest", "/", False)),
            ("AMQPS://rabbit/v", ("rabbit", 5671, "guest", "guest", "v", True)),
            ("amqps://u:p@[::1]:1/a%20b", ("::1", 1, "u", "p", "a b", True)),
            ("amqp://u%40x:p%2F%3A%C3%A9@r", ("r", 5672, "u@x", "p/:é", "/", False)),
        ],
    )
    def test_amqp_url(self, url: str, expected: tuple[str, int, str, str, str, bool]) -> None:
        [endpoint] = load_settings({"amqp_url": url}).amqp_endpoints
        assert endpoint == AmqpEndpoint(*expected)

    def test_several_urls(self) -> None:
        settings = load_settings({"amqp_url": "amqps://a/x, amqp://u:p@b:7"})
        assert [str(endpoint) for endpoint in settings.amqp_endpoints] == [
            "amqps://guest@a:5671/x",
            "amqp://u@b:7/%2F",
        ]

    @given(
        user=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1),
        password=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1),
        vhost=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60),
    )
    def test_any_login_survives_percent_encoding(
        self, user: str, password: str, vhost: str
    ) -> None:
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        url = f"amqp://{login}@rabbit/{quote(vhost, safe='')}"
        [endpoint] = load_settings({"amqp_url": url}).amqp_endpoints
        assert (endpoint.user, endpoint.password, endpoint.vhost) == (user, password, vhost)
        [again] = load_settings({"amqp_url": str(endpoint).replace("@", ":x@", 1)}).amqp_endpoints
        assert (again.user, again.vhost) == (user, vhost)


class TestSecrets:
    @given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
    def test_nothing_shown_depends_on_a_secret(self, secret: str) -> None:
        def shown(secret: str) -> list[str]:
            url = f"amqp://me:{quote(secret, safe='')}@rabbit"
            given = {"rabbitmq_password": secret, "broker_websocket_token": secret}
            settings = load_settings({**given, "amqp_url": url})
            endpoints = settings.amqp_endpoints
            return [repr(settings), str(settings), repr(endpoints), str(endpoints[0])]

        assert shown(secret) == shown("another")

    @given(
        before=st.sampled_from(["amqp://", "amqps://me:", "http://me:", "amqp://me:x@", "me:", ""]),
        noise=st.text(max_size=5),
        after=st.sampled_from(["@rabbit", "@rabbit:0", "@rabbit/?x=y", "@", "", "@[", "/", ",x"]),
        field=st.sampled_from(["amqp_url", "websocket_url", "broker_websocket_token"]),
    )
    def test_no_problem_repeats_a_secret(
        self, before: str, noise: str, after: str, field: str
    ) -> None:
        value = f"{before}{noise}{HIDDEN}{after}"
        with suppress(SettingsError):
            settings = load_settings({field: value})
            assert HIDDEN not in repr(settings) or field == "websocket_url"
            return
        lines = problems({field: value})
        assert all(line.startswith(field.upper()) for line in lines)
        assert HIDDEN not in "".join(lines)


class TestTls:
    def test_certificate_and_key(self, pem: Path) -> None:
        names = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
        files = {f"amqp_{kind}_file": str(pem / name) for kind, name in names.items()}
        urls = {"amqp_url": "amqps://rabbit", "websocket_url": "WSS://server/ws"}
        settings = load_settings({**urls, **files, "websocket_ca_file": files["amqp_ca_file"]})
        assert settings.amqp_key_file == pem / "key.pem"

    def test_certificate_with_its_key(self, pem: Path) -> None:
        both = str(pem / "both.pem")
        settings = load_settings({"amqp_url": "amqps://rabbit", "amqp_cert_file": both})
        assert settings.amqp_cert_file == pem / "both.pem"


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes", "on"])
def test_switches(text: str) -> None:
    assert load_settings({"broker_follow_advertised_url": text}).broker_follow_advertised_url


def test_level_and_format_in_any_case() -> None:
    settings = load_settings({"broker_log_level": "WARNING", "broker_log_format": "Json"})
    assert (settings.broker_log_level, settings.broker_log_format) == ("warning", "json")


def test_how_receivers_are_chosen() -> None:
    given = {
        "broker_routing_policy": "Least_Outstanding",
        "broker_receiver": "PREFER",
        "broker_answer_timeout": "90.5",
        "broker_max_unanswered": "1",
    }
    settings = load_settings(given)
    assert settings.broker_routing_policy == "least_outstanding"
    assert settings.broker_receiver == "prefer"
    assert settings.broker_answer_timeout == 90.5
    assert settings.broker_max_unanswered == 1
    assert load_settings({"broker_hold": "1.5"}).broker_hold == 1.5


@pytest.mark.parametrize("name", ["policies:fair", "our.routing.policies:Fair", "é:_x2"])
def test_a_policy_of_ones_own_is_named_as_it_is_written(name: str) -> None:
    assert load_settings({"broker_routing_policy": name}).broker_routing_policy == name


def test_every_setting_is_an_option_with_description() -> None:
    offered = {option.name: option for option in options()}
    files = {"rabbitmq_password_file", "amqp_url_file", "broker_websocket_token_file"}
    assert offered.keys() == {one.name for one in settings_of(Settings)} | files
    assert all(one.description.endswith(".") or ")" in one.description for one in options())
    assert offered["broker_registry_ttl"].default == "60"
    assert offered["broker_routing_policy"].default == "random"
    assert offered["broker_answer_timeout"].default == "300"
    assert offered["broker_follow_advertised_url"].default == "false"
    assert offered["amqp_url"].default is None
