"""Name look-ups in the AMQP thread, with a resolver that answers when the test says so."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker.amqp import Rabbit
from broker.amqp.daemon_thread import look_up
from tests.amqp.rig import Rig

NAME = "rabbitmq.test"
PATIENCE = 20.0
FOUND = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))]


class Resolver:
    """Stands in for the system's, and says nothing until it is released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_asked = threading.Event()
        self.release = threading.Event()
        self.has_answered = False
        self.error: OSError | None = None

    def getaddrinfo(self, host: str, *_: object, **__: object) -> Sequence[object]:
        self.asked.append(host)
        self.is_asked.set()
        self.release.wait(PATIENCE)  # whoever waits for it fails, and does not hang
        self.has_answered = True
        if self.error is not None:
            raise self.error
        return FOUND


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.release.set()


async def test_nobody_waits_for_a_silent_resolver(rig: Rig, resolver: Resolver) -> None:
    threads = set(threading.enumerate())
    with start_blocking_portal("asyncio") as portal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_in_vain, replace(rig.at(host=NAME), rabbit=Rabbit(portal)))
            await trio.to_thread.run_sync(resolver.is_asked.wait)
            nursery.cancel_scope.cancel()
    # Neither the event loop has waited, nor will the interpreter.
    assert not resolver.has_answered
    assert all(thread.daemon for thread in set(threading.enumerate()) - threads)


async def open_in_vain(rig: Rig) -> None:
    async with rig.open():
        raise AssertionError("it has opened")


def test_those_who_ask_for_the_same_share_the_answer(
    portal: BlockingPortal, resolver: Resolver
) -> None:
    async def ask() -> object:
        cancelled, first, second, other = (
            asyncio.create_task(look_up(host, 1)) for host in (NAME, NAME, NAME, "other.test")
        )
        await asyncio.to_thread(resolver.is_asked.wait)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        resolver.release.set()
        return await asyncio.gather(first, second, other)

    assert portal.call(ask) == [FOUND, FOUND, FOUND]
    assert sorted(resolver.asked) == ["other.test", NAME]


def test_each_question_is_asked_anew(portal: BlockingPortal, resolver: Resolver) -> None:
    resolver.release.set()
    resolver.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(socket.gaierror, match="not known"):
        portal.call(look_up, NAME, 1)
    resolver.error = None
    assert portal.call(look_up, NAME, 1) == FOUND
    assert resolver.asked == [NAME, NAME]
