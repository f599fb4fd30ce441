"""Logging in to a real RabbitMQ with TLS of its own, and what is said when it lets nobody in."""

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
import trio
from anyio.from_thread import start_blocking_portal

from broker.amqp import Rabbit, SessionParameters, connection
from broker.cli.checks.item import Item
from broker.cli.checks.rabbitmq import Wanted, check_rabbitmq
from broker.net.endpoints import AmqpEndpoint, parse_amqp_urls
from broker.net.tls import TlsFiles
from broker.sandbox.free_ports import free_ports
from tests.amqp.rig import losing
from tests.lab.eventually import PATIENCE
from tests.lab.flawed_certificates import Issued, authority, leaf
from tests.lab.proxy import open_proxy
from tests.lab.rabbitmq_node import RabbitmqNode, open_rabbitmq_node

HOST = "127.0.0.1"
USER = "courier"
SYSTEMS_TRUST = TlsFiles()

CONFIG = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {directory}/ca.pem
ssl_options.certfile = {directory}/server.pem
ssl_options.keyfile = {directory}/server.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_cert_login_from = common_name
auth_mechanisms.1 = EXTERNAL
"""


@dataclass(frozen=True)
class External:
    """A node where only certificates are a login, and the files of its clients."""

    node: RabbitmqNode
    port: int
    ca: Issued
    directory: Path

    def endpoint(self, login: str = "", host: str = HOST) -> AmqpEndpoint:
        url = f"amqps://{login}{host}:{self.port}"
        return parse_amqp_urls(url, has_certificate=True)[0]

    def files(self, common_name: str | None) -> TlsFiles:
        trusted = self.directory / "ca.pem"
        if common_name is None:
            return TlsFiles(trusted)
        path = self.directory / f"{common_name}.pem"
        leaf(self.ca, common_name=common_name, for_clients=True).write(path)
        return TlsFiles(trusted, path)


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[External]:
    directory = tmp_path_factory.mktemp("external")
    ca = authority()
    (directory / "ca.pem").write_bytes(ca.pem)
    # Without key identifiers, as many private CAs issue them.
    server = leaf(ca, HOST, "localhost", key_identifiers=False)
    server.write(directory / "server.pem")
    [port] = free_ports(1)
    config = CONFIG.format(port=port, directory=directory)
    plugins = ("rabbitmq_auth_mechanism_ssl",)
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(
            open_rabbitmq_node(config=config, plugins=plugins)
        ) as node,
    ):
        portal.call(node.ctl, "add_user", USER, "unused")
        portal.call(node.ctl, "clear_password", USER)
        portal.call(node.ctl, "set_permissions", USER, ".*", ".*", ".*")
        yield External(node, port, ca, directory)


@pytest.fixture
def wanted() -> Wanted:
    number = uuid4().hex[:8]
    return Wanted(
        name="check",
        consumed=(f"input-{number}",),
        published=(f"output-{number}",),
        exchange=f"events-{number}",
        has_url=True,
    )


async def open_once(rabbit: Rabbit, endpoint: AmqpEndpoint, tls: TlsFiles = SYSTEMS_TRUST) -> None:
    with trio.fail_after(PATIENCE):
        async with rabbit.open_session(SessionParameters(endpoint, name="test", tls=tls)):
            pass


async def refused(rabbit: Rabbit, endpoint: AmqpEndpoint, tls: TlsFiles = SYSTEMS_TRUST) -> str:
    with losing() as caught:
        await open_once(rabbit, endpoint, tls)
    return str(caught.value)


async def broken(rabbit: Rabbit, endpoint: AmqpEndpoint, wanted: Wanted) -> Item:
    """Return what `check` stops at."""
    item = (await check_rabbitmq(rabbit, endpoint, wanted))[-1]
    assert not item.ok
    return item


@pytest.mark.parametrize("login", ["", "somebody:else@"], ids=["no login", "a login for another"])
async def test_a_certificate_is_the_login(login: str, rabbit: Rabbit, external: External) -> None:
    parameters = SessionParameters(external.endpoint(login), name="test", tls=external.files(USER))
    with trio.fail_after(PATIENCE):
        async with rabbit.open_session(parameters):
            listed = await external.node.ctl("list_connections", "user", "auth_mechanism")
            assert set(listed.splitlines()[1:]) == {f"{USER}\tEXTERNAL"}


async def test_check_says_that_a_certificate_is_the_login(
    rabbit: Rabbit, external: External, wanted: Wanted
) -> None:
    secured = replace(wanted, tls=external.files(USER))
    items = await check_rabbitmq(rabbit, external.endpoint(), secured)
    assert all(item.ok for item in items)
    assert "the user of the client certificate may log in" in [item.found for item in items]


async def test_a_certificate_without_a_user(
    rabbit: Rabbit, external: External, wanted: Wanted
) -> None:
    tls = external.files("nobody")
    said = await refused(rabbit, external.endpoint(), tls)
    assert "RabbitMQ refused the login (ACCESS_REFUSED" in said
    assert "the user that the client certificate names must exist there" in said
    item = await broken(rabbit, external.endpoint(), replace(wanted, tls=tls))
    assert item.name == "login"
    assert "ssl_cert_login_from" in str(item.advice)


async def test_a_node_that_offers_no_way_to_log_in(
    rabbit: Rabbit, external: External, wanted: Wanted
) -> None:
    [plain] = parse_amqp_urls(external.node.url)
    said = await refused(rabbit, plain)
    # Without TLS a certificate cannot be shown, and so the node does not offer EXTERNAL.
    assert "RabbitMQ offers no way to log in that the broker knows: it offers none" in said
    assert "if only client certificates are to log in, AMQP_CERT_FILE must name one" in said
    assert "[" not in said
    item = await broken(rabbit, plain, wanted)
    assert item.name == "login"
    assert item.found.endswith("it offers none")


async def test_a_node_that_wants_a_certificate(
    rabbit: Rabbit, external: External, wanted: Wanted
) -> None:
    tls = external.files(None)
    said = await refused(rabbit, external.endpoint(), tls)
    # The alert may be lost, when the node hangs up at the same time.
    assert "client certificate" in said
    assert "AMQP_CERT_FILE must name one" in said
    item = await broken(rabbit, external.endpoint(), replace(wanted, tls=tls))
    assert item.name == "TLS"
    assert item.found.startswith("the peer wants a client certificate")
    assert item.advice == "AMQP_CERT_FILE must name one"


async def test_the_certificate_of_now_is_shown(rabbit: Rabbit, external: External) -> None:
    tls = external.files("rotated")
    assert "refused the login" in await refused(rabbit, external.endpoint(), tls)
    good = external.directory / f"{USER}.pem"
    external.files(USER)
    good.replace(external.directory / "rotated.pem")
    await open_once(rabbit, external.endpoint(), tls)


async def test_half_a_rotation_is_an_error_of_that_attempt(
    rabbit: Rabbit, external: External, tmp_path: Path
) -> None:
    one, other = (leaf(external.ca, common_name=USER, for_clients=True) for _ in range(2))
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(one.pem)
    key.write_bytes(other.key_pem)
    tls = TlsFiles(external.directory / "ca.pem", certificate, key)
    said = await refused(rabbit, external.endpoint(), tls)
    assert said.startswith("connecting to amqps://127.0.0.1:")
    assert "AMQP_CERT_FILE and AMQP_KEY_FILE must hold a certificate and its unencrypted" in said
    key.write_bytes(one.key_pem)
    await open_once(rabbit, external.endpoint(), tls)


async def test_a_name_with_the_dot_of_the_root(
    rabbit: Rabbit, external: External, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    async def resolve(host: str, port: int) -> socket.socket:
        looked_up.append(host)
        return await connect_socket(HOST, port)

    connect_socket = connection.connect_socket
    monkeypatch.setattr(connection, "connect_socket", resolve)
    endpoint = external.endpoint(host="localhost.")
    await open_once(rabbit, endpoint, external.files(USER))
    assert set(looked_up) == {"localhost."}


async def test_tls_on_a_port_in_the_clear(rabbit: Rabbit, external: External) -> None:
    endpoint = replace(external.endpoint(), port=external.node.port)
    said = await refused(rabbit, endpoint, external.files(USER))
    assert "the peer does not speak TLS on this port" in said


async def test_guest_stays_the_login_where_certificates_are_none(
    rabbit: Rabbit, rabbitmq: RabbitmqNode, tmp_path: Path
) -> None:
    ca = authority()
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    certificate = leaf(ca, common_name=USER, for_clients=True).write(tmp_path / "client.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(leaf(ca, HOST).write(tmp_path / "server.pem"))
    async with open_proxy(rabbitmq.port, context) as proxy:
        [endpoint] = parse_amqp_urls(f"amqps://{HOST}:{proxy.port}", has_certificate=True)
        tls = TlsFiles(tmp_path / "ca.pem", certificate)
        await open_once(rabbit, endpoint, tls)


@pytest.fixture
async def limited(rabbitmq: RabbitmqNode, user: str) -> AsyncIterator[AmqpEndpoint]:
    """An endpoint with a virtual host and a user of its own."""
    vhost = f"limited-{uuid4().hex[:8]}"
    await rabbitmq.ctl("add_vhost", vhost)
    await rabbitmq.ctl("set_permissions", "-p", vhost, user, ".*", ".*", ".*")
    yield AmqpEndpoint(rabbitmq.host, rabbitmq.port, user, user, vhost, tls=False)
    await rabbitmq.ctl("clear_user_limits", user, "all")
    await rabbitmq.ctl("delete_vhost", vhost)


@pytest.mark.parametrize("of", [pytest.param("vhost", marks=pytest.mark.exhaustive), "user"])
async def test_too_many_connections(
    of: str,
    rabbit: Rabbit,
    rabbitmq: RabbitmqNode,
    limited: AmqpEndpoint,
    wanted: Wanted,
) -> None:
    whose = ("-p", limited.vhost) if of == "vhost" else (limited.user,)
    await rabbitmq.ctl(f"set_{of}_limits", *whose, '{"max-connections": 0}')
    said = await refused(rabbit, limited)
    assert "RabbitMQ takes no more connections (NOT_ALLOWED" in said
    assert "set_vhost_limits" in said
    item = await broken(rabbit, limited, wanted)
    assert item.name == "connections"
    assert item.found.startswith("RabbitMQ takes no more connections (NOT_ALLOWED")


async def test_a_virtual_host_that_is_down(
    rabbit: Rabbit,
    rabbitmq: RabbitmqNode,
    limited: AmqpEndpoint,
    wanted: Wanted,
) -> None:
    stop = f'rabbit_vhost_sup_sup:stop_and_delete_vhost(<<"{limited.vhost}">>).'
    await rabbitmq.ctl("eval", stop)
    said = await refused(rabbit, limited)
    assert "the virtual host is down" in said
    item = await broken(rabbit, limited, wanted)
    assert item.name == "virtual host"
    assert "restart_vhost" in str(item.advice)


async def test_a_guest_who_is_refused_hears_why_that_may_be(
    rabbit: Rabbit, rabbitmq: RabbitmqNode
) -> None:
    [endpoint] = parse_amqp_urls(rabbitmq.url)
    said = await refused(rabbit, replace(endpoint, password="wrong"))  # noqa: S106
    assert "lets guest in only from its own machine (loopback_users)" in said
    said = await refused(rabbit, replace(endpoint, user="nobody"))
    assert "loopback_users" not in said
