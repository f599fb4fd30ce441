"""Connections: to hosts that have several addresses, and their end."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from broker.amqp import AmqpTimeouts
from broker.amqp.connection import Connection
from tests.amqp.rig import Rig, losing
from tests.lab.black_hole import black_hole

NAME = "rabbitmq.test"


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


async def test_a_first_address_that_does_not_answer_costs_little(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving("127.0.0.2", "127.0.0.3", "127.0.0.1"))
    port = rig.endpoint.port
    with black_hole("127.0.0.2", port), black_hole("127.0.0.3", port):
        async with rig.at(host=NAME).open() as session:
            await session.publish([rig.to_output(b"x")])
    assert await rig.bodies(rig.output, 1) == [b"x"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [(False, f"{NAME}.*: no answer in time"), (True, "connection refused")],
)
async def test_no_address_is_of_use(
    *, rig: Rig, monkeypatch: pytest.MonkeyPatch, answers: bool, said: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving("127.0.0.2", "127.0.0.3"))
    with ExitStack() as silent, losing(said):
        for host in () if answers else ("127.0.0.2", "127.0.0.3"):
            silent.enter_context(black_hole(host, rig.endpoint.port))
        async with rig.at(host=NAME).open(timeouts=AmqpTimeouts(connect=0.6)):
            pass


async def test_a_close_that_is_cancelled_hangs_up_and_leaves_no_task(rig: Rig) -> None:
    def closing() -> list[object]:
        names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
        return [name for name in names if name.endswith(".close")]

    async def close_and_cancel() -> list[object]:
        connection = Connection(rig.endpoint, name="test")
        await connection.open()
        task = asyncio.create_task(connection.close())
        while len(closing()) < 2:  # this one, and that of aiormq
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        return closing()

    assert await rig.rabbit.run(close_and_cancel) == []
