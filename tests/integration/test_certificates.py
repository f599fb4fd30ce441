"""The real process with amqps:// and wss://: whom it trusts, and what it says of all others."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.central_server import CentralServer
from tests.lab.certificates import refused_certificate
from tests.lab.proxy import Proxy, Toward, open_proxy

HOST = "127.0.0.1"


def server_side(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@asynccontextmanager
async def open_fronts(
    rig: Rig, server: CentralServer, certificate: trustme.LeafCert
) -> AsyncIterator[tuple[Proxy, Proxy]]:
    """Add TLS to RabbitMQ and to the server."""
    tls = server_side(certificate)
    async with (
        open_proxy(rig.node.port, tls) as rabbitmq,
        open_proxy(urlsplit(server.url).port or 0, tls) as central,
    ):
        yield rabbitmq, central


def tls_settings(rabbitmq: Proxy, ca_file: Path) -> dict[str, str]:
    return {
        "AMQP_URL": f"amqps://guest:guest@{HOST}:{rabbitmq.port}/",
        "AMQP_CA_FILE": str(ca_file),
        "WEBSOCKET_CA_FILE": str(ca_file),
    }


async def test_both_connections_are_encrypted_and_verified(
    rig: Rig, server: CentralServer, authority: trustme.CA, ca_file: Path
) -> None:
    agents = bring_online(server)
    async with open_fronts(rig, server, authority.issue_cert(HOST)) as (rabbitmq, central):
        settings = tls_settings(rabbitmq, ca_file)
        async with rig.routing(f"wss://{HOST}:{central.port}/ws", **settings):
            await rig.publish(rig.input, text(1, agents[0]))
            assert ids(await rig.take(rig.output, 1)) == ["m-1"]
        assert rabbitmq.connections
        assert central.connections == 1


# The certificate, what is wrong with it, and what an operator can do about it.
REFUSED = {
    "another authority": ("unable to get local issuer certificate", "{variable} must name"),
    "expired": ("certificate has expired", "clock"),
    "another host": ("IP address mismatch", "connect by a name"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_certificate_is_refused_with_the_reason_and_advice(
    what: str, rig: Rig, server: CentralServer, authority: trustme.CA, ca_file: Path
) -> None:
    reason, advice = REFUSED[what]
    certificate = refused_certificate(what, authority)
    async with open_fronts(rig, server, certificate) as (rabbitmq, central):
        settings = tls_settings(rabbitmq, ca_file)
        async with rig.broker(f"wss://{HOST}:{central.port}/ws", **settings) as broker:
            for event, variable in (
                ("amqp_unavailable", "AMQP_CA_FILE"),
                ("server_unavailable", "WEBSOCKET_CA_FILE"),
            ):
                [line, *_] = await rig.logged(event)
                assert "certificate verify failed" in line["error"]
                assert reason in line["error"]
                assert advice.format(variable=variable) in line["error"]
                assert "_ssl.c" not in line["error"]
            # It waits for somebody to put it right, and can be stopped meanwhile.
            assert broker.is_running
            assert await terminate(broker, within=12) == 0
        # Neither password nor token has left.
        assert rabbitmq.forwarded[Toward.SERVER] == central.forwarded[Toward.SERVER] == 0
