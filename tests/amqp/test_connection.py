"""Connections to hosts that have several addresses."""

import socket
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
import trio

from broker.amqp import Publishing, Rabbit, SessionLostError, SessionParameters, connection
from tests.amqp.conftest import Queues
from tests.lab.amqp_client import AmqpClient
from tests.lab.black_hole import black_hole

NAME = "rabbitmq.test"
PATIENCE = 30.0


def resolving(*addresses: str) -> Callable[..., list[object]]:
    """Return what resolves `NAME` to addresses, and anything else as ever."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: object, **kwargs: object) -> list[object]:
        if host != NAME:
            return list(resolve(host, port, *args, **kwargs))  # type: ignore[arg-type]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in addresses
        ]

    return getaddrinfo


def of_name(parameters: SessionParameters) -> SessionParameters:
    return msgspec.structs.replace(parameters, endpoint=replace(parameters.endpoint, host=NAME))


async def test_a_first_address_that_does_not_answer_costs_little(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: AmqpClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving("127.0.0.2", "127.0.0.3", "127.0.0.1"))
    port = parameters.endpoint.port
    with black_hole("127.0.0.2", port), black_hole("127.0.0.3", port), trio.fail_after(PATIENCE):
        async with rabbit.open_session(of_name(parameters)) as session:
            await session.publish([Publishing(queues.output, b"x", "me")])
    assert [message.body for message in await raw.take(queues.output, 1)] == [b"x"]


async def test_no_address_answers(
    rabbit: Rabbit, parameters: SessionParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving("127.0.0.2", "127.0.0.3"))
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.6)
    port = parameters.endpoint.port
    with (
        black_hole("127.0.0.2", port),
        black_hole("127.0.0.3", port),
        trio.fail_after(PATIENCE),
        pytest.raises(SessionLostError, match=f"{NAME}.*: no answer in time"),
    ):
        async with rabbit.open_session(of_name(parameters)):
            pass


async def test_all_addresses_refuse(
    rabbit: Rabbit, parameters: SessionParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving("127.0.0.2", "127.0.0.3"))
    with trio.fail_after(PATIENCE), pytest.raises(SessionLostError, match="Connect call failed"):
        async with rabbit.open_session(of_name(parameters)):
            pass
