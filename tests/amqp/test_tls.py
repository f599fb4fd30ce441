"""amqps://, with a proxy that adds TLS to a plain RabbitMQ."""

import ssl
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import trio
import trustme

from broker.amqp import Publishing, Rabbit, SessionLostError, SessionParameters
from broker.net.tls import TlsFiles
from tests.amqp.conftest import Queues
from tests.lab.amqp_client import AmqpClient
from tests.lab.proxy import Proxy, open_proxy

PATIENCE = 30.0


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def ca_file(authority: trustme.CA, directory: Path) -> Path:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def secured(parameters: SessionParameters, proxy: Proxy, tls: TlsFiles) -> SessionParameters:
    endpoint = replace(parameters.endpoint, port=proxy.port, tls=True)
    return msgspec.structs.replace(parameters, endpoint=endpoint, tls=tls)


async def test_a_verified_server(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: AmqpClient,
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    client = TlsFiles(ca_file(authority, tmp_path))
    with trio.fail_after(PATIENCE):
        async with (
            open_proxy(parameters.endpoint.port, server_context(authority)) as proxy,
            rabbit.open_session(secured(parameters, proxy, client)) as session,
        ):
            await session.publish([Publishing(queues.output, b"x" * 200_000, "me")])

    assert [message.body for message in await raw.take(queues.output, 1)] == [b"x" * 200_000]


@pytest.mark.parametrize(
    ("trusted", "name", "text"),
    [
        (False, "127.0.0.1", "certificate verify failed"),
        (True, "rabbitmq.example", "IP address mismatch"),
    ],
)
async def test_another_server_is_refused(
    *,
    rabbit: Rabbit,
    parameters: SessionParameters,
    tmp_path: Path,
    trusted: bool,
    name: str,
    text: str,
) -> None:
    authority = trustme.CA()
    client = TlsFiles(ca_file(authority if trusted else trustme.CA(), tmp_path))
    with trio.fail_after(PATIENCE):
        async with open_proxy(parameters.endpoint.port, server_context(authority, name)) as proxy:
            with pytest.raises(SessionLostError, match=text):
                async with rabbit.open_session(secured(parameters, proxy, client)):
                    pytest.fail("it cannot have been opened")


async def test_a_server_without_tls_is_refused(
    rabbit: Rabbit, parameters: SessionParameters
) -> None:
    with trio.fail_after(PATIENCE):
        async with open_proxy(parameters.endpoint.port) as proxy:
            with pytest.raises(
                SessionLostError, match=r"connecting to amqps://.*does not speak TLS"
            ):
                async with rabbit.open_session(secured(parameters, proxy, TlsFiles())):
                    pytest.fail("it cannot have been opened")


async def test_shows_a_client_certificate_when_it_has_one(
    rabbit: Rabbit, parameters: SessionParameters, tmp_path: Path
) -> None:
    authority = trustme.CA()
    server = server_context(authority)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    shown = tmp_path / "client.pem"
    authority.issue_cert("broker@example.org").private_key_and_cert_chain_pem.write_to_path(shown)
    trusted = ca_file(authority, tmp_path)

    with trio.fail_after(PATIENCE):
        async with open_proxy(parameters.endpoint.port, server) as proxy:
            client = TlsFiles(trusted, shown)
            async with rabbit.open_session(secured(parameters, proxy, client)):
                pass
            with pytest.raises(SessionLostError, match=r"connecting to amqps://"):
                async with rabbit.open_session(secured(parameters, proxy, TlsFiles(trusted))):
                    pytest.fail("it cannot have been opened")


async def test_a_black_hole_behind_tls_does_not_hold_up_the_end(
    rabbit: Rabbit, parameters: SessionParameters, tmp_path: Path
) -> None:
    authority = trustme.CA()
    client = TlsFiles(ca_file(authority, tmp_path))
    async with open_proxy(parameters.endpoint.port, server_context(authority)) as proxy:
        with trio.fail_after(PATIENCE):
            async with rabbit.open_session(secured(parameters, proxy, client)):
                proxy.stall()
                before = trio.current_time()
        assert trio.current_time() - before < 4
