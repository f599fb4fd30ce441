"""What secret files say of RabbitMQ is read again, and checked again."""

import os
from pathlib import Path

import pytest

from broker.net.unusable_file import UnusableFileError
from broker.settings import load_settings
from broker.settings.amqp_nodes import AmqpNodes
from tests.lab.flawed_certificates import authority, leaf

HIDDEN = "Tr0ub4dor"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def logins(nodes: AmqpNodes) -> list[tuple[str, str, str]]:
    return [(node.host, node.user, node.password) for node in nodes.read()]


def test_nothing_changes_without_a_file() -> None:
    nodes = load_settings({"amqp_url": "amqp://u:p@one"}).amqp_nodes
    assert not nodes.may_change
    assert logins(nodes) == [("one", "u", "p")]


def test_a_password_is_read_again(file: Path) -> None:
    file.write_text("old\n")
    given = {"rabbitmq_host": "one,two", "rabbitmq_user": "u", "rabbitmq_password_file": str(file)}
    settings = load_settings(given)
    file.write_text("new\n")
    assert logins(settings.amqp_nodes) == [("one", "u", "new"), ("two", "u", "new")]
    assert settings.amqp_nodes.read_again(settings.amqp_endpoints[1]).password == "new"
    # That of the start stays what it was.
    assert settings.rabbitmq_password == "old"


def test_a_url_is_read_again_as_a_whole(file: Path) -> None:
    file.write_text("amqp://u:p@one")
    settings = load_settings({"amqp_url_file": str(file)})
    file.write_text("amqps://v:q@two/v, amqp://v:r@one")
    assert logins(settings.amqp_nodes) == [("two", "v", "q"), ("one", "v", "r")]
    [one] = settings.amqp_endpoints
    assert settings.amqp_nodes.read_again(one).password == "r"
    file.write_text("amqp://v:r@three")
    with pytest.raises(UnusableFileError, match="AMQP_URL_FILE does not name this node any more"):
        settings.amqp_nodes.read_again(one)


def test_two_users_of_one_node_stay_apart(file: Path) -> None:
    file.write_text("amqp://u:1@one, amqp://v:1@one")
    nodes = load_settings({"amqp_url_file": str(file)}).amqp_nodes
    file.write_text("amqp://u:2@one, amqp://v:3@one")
    assert [nodes.read_again(node).password for node in nodes.at_start] == ["2", "3"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "AMQP_URL_FILE must name a readable file with the secret (No such file"),
        ("", "AMQP_URL_FILE must name a readable file with the secret (it is empty)"),
        (f"amqp://u:{HIDDEN}@", "AMQP_URL must name a host"),
        (f"amqp://u:{HIDDEN}@host:port", "AMQP_URL must have a valid host"),
    ],
)
def test_a_file_that_cannot_be_used_now_is_named(
    file: Path, content: str | None, text: str
) -> None:
    file.write_text("amqp://u:p@one")
    nodes = load_settings({"amqp_url_file": str(file)}).amqp_nodes
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(UnusableFileError) as caught:
        nodes.read()
    assert str(caught.value).startswith(text)
    assert HIDDEN not in str(caught.value)


def test_tls_is_not_given_up(file: Path, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority().pem)
    file.write_text("amqps://u:p@one")
    nodes = load_settings({"amqp_url_file": str(file), "amqp_ca_file": str(ca)}).amqp_nodes
    file.write_text("amqp://u:p@one")
    with pytest.raises(UnusableFileError, match="AMQP_URL must be amqps:// throughout"):
        nodes.read()


def test_what_can_be_read_only_once_is_read_once() -> None:
    read, written = os.pipe()
    try:
        os.write(written, b"secret\n")
        os.close(written)
        settings = load_settings({"rabbitmq_password_file": f"/dev/fd/{read}"})
    finally:
        os.close(read)
    assert settings.rabbitmq_password == "secret"
    assert settings.secret_file("RABBITMQ_PASSWORD") is None


def test_secrets_of_files_are_not_shown(file: Path) -> None:
    file.write_text(HIDDEN)
    settings = load_settings({"rabbitmq_password_file": str(file)})
    assert HIDDEN not in repr(settings) + repr(settings.amqp_nodes) + repr(settings.secret_files)


def test_a_certificate_is_the_login_where_a_url_has_none(tmp_path: Path) -> None:
    certificate = leaf(None, "client").write(tmp_path / "client.pem")
    given = {"amqp_url": "amqps://u:p@one, amqps://two", "amqp_cert_file": str(certificate)}
    nodes = load_settings(given).amqp_endpoints
    assert [str(node) for node in nodes if node.by_certificate] == ["amqps://two:5671/%2F"]
    [node] = load_settings({"amqp_url": "amqps://one"}).amqp_endpoints
    assert not node.by_certificate
