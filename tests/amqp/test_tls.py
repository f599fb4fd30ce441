"""amqps://, with a proxy that adds TLS to a plain RabbitMQ."""

import ssl
from pathlib import Path

import pytest
import trio
import trustme

from broker.net.tls import TlsFiles
from tests.amqp.rig import CLOSING, Rig, losing
from tests.lab.proxy import Proxy, open_proxy


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def secured(rig: Rig, proxy: Proxy, ca: Path) -> Rig:
    return rig.at(port=proxy.port, tls=True).with_parameters(tls=TlsFiles(ca))


async def test_a_verified_server(rig: Rig, authority: trustme.CA, ca_file: Path) -> None:
    async with (
        open_proxy(rig.endpoint.port, server_context(authority)) as proxy,
        secured(rig, proxy, ca_file).open() as session,
    ):
        await session.publish([rig.to_output(b"x" * 200_000)])
    assert await rig.bodies(rig.output, 1) == [b"x" * 200_000]


@pytest.mark.parametrize(
    ("trusted", "name", "text"),
    [
        (False, "127.0.0.1", "certificate verify failed"),
        (True, "rabbitmq.example", "IP address mismatch"),
    ],
)
async def test_another_server_is_refused(
    *, rig: Rig, authority: trustme.CA, ca_file: Path, trusted: bool, name: str, text: str
) -> None:
    context = server_context(authority if trusted else trustme.CA(), name)
    async with open_proxy(rig.endpoint.port, context) as proxy:
        with losing(text):
            async with secured(rig, proxy, ca_file).open():
                pytest.fail("it cannot have been opened")


async def test_a_black_hole_behind_tls_does_not_hold_up_the_end(
    rig: Rig, authority: trustme.CA, ca_file: Path
) -> None:
    async with open_proxy(rig.endpoint.port, server_context(authority)) as proxy:
        async with secured(rig, proxy, ca_file).open():
            proxy.stall()
            before = trio.current_time()
        assert trio.current_time() - before < CLOSING
