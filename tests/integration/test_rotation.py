"""Secrets and certificates are replaced as files while the real process runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.integration.test_certificates import HOST, open_fronts, server_side, tls_settings
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.eventually import eventually
from tests.lab.proxy import open_proxy
from tests.lab.rabbitmq_node import RabbitmqNode

OLD, NEW = "0ld-c4nary", "n3w-c4nary"
USER = "rotating"


@pytest.fixture
async def rotating(rabbitmq: RabbitmqNode) -> AsyncIterator[str]:
    """A user whose password changes."""
    await rabbitmq.ctl("add_user", USER, OLD)
    await rabbitmq.ctl("set_permissions", USER, ".*", ".*", ".*")
    yield USER
    await rabbitmq.ctl("delete_user", USER)


async def end_connections(rig: Rig) -> None:
    await rig.node.ctl("close_all_user_connections", USER, "rotated")


def swap(link: Path, content: str) -> None:
    """Replace a file as Kubernetes does: a symbolic link that is renamed over the old one."""
    target = link.with_name(f"{link.name}-{len(list(link.parent.iterdir()))}")
    target.write_text(content)
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


@pytest.mark.parametrize(
    "variable",
    ["RABBITMQ_PASSWORD_FILE", pytest.param("AMQP_URL_FILE", marks=pytest.mark.exhaustive)],
)
async def test_a_password_is_replaced_without_a_restart(
    variable: str, rig: Rig, server: CentralServer, rotating: str
) -> None:
    agents = bring_online(server)
    file = rig.directory / "secret"
    is_url = variable == "AMQP_URL_FILE"

    def secret(password: str) -> str:
        url = f"amqp://{rotating}:{password}@{HOST}:{rig.node.port}/"
        return f"{url if is_url else password}\n"

    swap(file, secret(OLD))
    address = (
        {}
        if is_url
        else {"RABBITMQ_HOST": HOST, "RABBITMQ_PORT": str(rig.node.port), "RABBITMQ_USER": rotating}
    )
    settings = {"AMQP_URL": "", variable: str(file), "BROKER_LOG_LEVEL": "debug", **address}
    async with rig.routing(server.url, **settings) as broker:
        # First RabbitMQ, then half of the file, then none, and then the whole of it.
        await rig.node.ctl("change_password", rotating, NEW)
        await end_connections(rig)
        await until_said(rig, "RabbitMQ refused the login")
        file.unlink()
        await until_said(rig, f"{variable} must name a readable file with the secret (No such")
        assert broker.is_running
        swap(file, "")
        await until_said(rig, f"{variable} must name a readable file with the secret (it is empty)")
        swap(file, secret(NEW))

        await rig.logged("amqp_connected", times=2)
        await rig.publish(rig.input, text(1, agents[0]))
        assert ids(await rig.take(rig.output, 1)) == ["m-1"]
    written = (rig.directory / "broker.log").read_text()
    assert OLD not in written
    assert NEW not in written


async def until_said(rig: Rig, text: str) -> None:
    await eventually(lambda: any(text in line.get("error", "") for line in rig.log()), text)


@pytest.mark.exhaustive
async def test_a_url_may_lead_to_another_place(
    rig: Rig, server: CentralServer, rotating: str
) -> None:
    file = rig.directory / "url"
    vhost = f"moved-{rig.input}"
    await rig.node.ctl("add_vhost", vhost)
    await rig.node.ctl("set_permissions", "-p", vhost, rotating, ".*", ".*", ".*")
    login = f"amqp://{rotating}:{OLD}@{HOST}:{rig.node.port}"
    swap(file, f"{login}/")
    async with rig.broker(server.url, AMQP_URL="", AMQP_URL_FILE=str(file)) as broker:
        await rig.logged("amqp_connected")
        swap(file, f"{login}/{vhost}")
        await end_connections(rig)
        [_, line] = await rig.logged("amqp_connected", times=2)
        assert line["endpoint"].endswith(f"/{vhost}")
        assert await terminate(broker, within=12) == 0
    await rig.node.ctl("delete_vhost", vhost)


async def test_a_token_is_replaced_without_a_restart(rig: Rig) -> None:
    file = rig.directory / "token"
    swap(file, f"{OLD}\n")
    async with open_central_server(token=OLD) as server:
        url = server.url
        async with rig.broker(url, BROKER_WEBSOCKET_TOKEN_FILE=str(file)) as broker:
            await rig.logged("registered")
            file.unlink()
            server.drop_sessions(1011)
            await until_said(rig, "BROKER_WEBSOCKET_TOKEN_FILE must name a readable file")
            swap(file, f"{NEW}\n")
            await until_said(rig, "HTTP status 401")
            swap(file, f"{OLD}\n")
            await rig.logged("registered", times=2)
            assert await terminate(broker, within=12) == 0
    written = (rig.directory / "broker.log").read_text()
    assert OLD not in written
    assert NEW not in written


@pytest.mark.exhaustive
async def test_a_ca_is_replaced_without_a_restart(rig: Rig, server: CentralServer) -> None:
    first, second = trustme.CA(), trustme.CA()
    amqp_ca, websocket_ca = rig.directory / "amqp-ca.pem", rig.directory / "websocket-ca.pem"
    for file in (amqp_ca, websocket_ca):
        swap(file, first.cert_pem.bytes().decode())
    async with open_fronts(rig, server, second.issue_cert(HOST)) as (rabbitmq, central):
        settings = {**tls_settings(rabbitmq, amqp_ca), "WEBSOCKET_CA_FILE": str(websocket_ca)}
        async with rig.broker(f"wss://{HOST}:{central.port}/ws", **settings) as broker:
            await rig.logged("amqp_unavailable")
            await rig.logged("server_unavailable")
            swap(amqp_ca, "")
            swap(websocket_ca, "")
            await until_said(rig, "AMQP_CA_FILE must name a readable file with CA certificates")
            await until_said(rig, "WEBSOCKET_CA_FILE must name a readable file with CA")
            for file in (amqp_ca, websocket_ca):
                swap(file, second.cert_pem.bytes().decode())
            await rig.logged("amqp_connected")
            await rig.logged("registered")
            assert await terminate(broker, within=12) == 0


async def test_a_client_certificate_is_replaced_in_two_steps(
    rig: Rig, server: CentralServer
) -> None:
    authority = trustme.CA()
    one, other = (authority.issue_cert("broker.example") for _ in range(2))
    ca, certificate, key = (rig.directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    swap(certificate, one.cert_chain_pems[0].bytes().decode())
    swap(key, one.private_key_pem.bytes().decode())
    async with open_proxy(rig.node.port, server_side(authority.issue_cert(HOST))) as front:
        settings = {
            "AMQP_URL": f"amqps://guest:guest@{HOST}:{front.port}/",
            "AMQP_CA_FILE": str(ca),
            "AMQP_CERT_FILE": str(certificate),
            "AMQP_KEY_FILE": str(key),
        }
        async with rig.broker(server.url, **settings) as broker:
            await rig.logged("amqp_connected")
            swap(certificate, other.cert_chain_pems[0].bytes().decode())
            await rig.node.ctl("close_all_connections", "rotated")
            await until_said(rig, "AMQP_CERT_FILE and AMQP_KEY_FILE must hold a certificate")
            swap(key, other.private_key_pem.bytes().decode())
            await rig.logged("amqp_connected", times=2)
            assert await terminate(broker, within=12) == 0
