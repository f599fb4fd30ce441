import errno
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing
import trustme

from tests.lab.proxy import HOST, Proxy, Toward, open_proxy

PATIENCE = 30.0
"""Nothing here takes this long; it turns a hang into a failure."""
NEVER = 1000.0
QUIET = 0.05
"""Seconds without anything to do; what was to be forwarded has been."""


@dataclass
class Line:
    """A client, the proxy, and the server's end of the client's connection."""

    proxy: Proxy
    listener: trio.SocketListener
    client: trio.SocketStream
    server: trio.SocketStream

    @asynccontextmanager
    async def another(self) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
        """Open another connection; yields the client's end and the server's."""
        async with (
            await trio.open_tcp_stream(HOST, self.proxy.port) as client,
            await self.listener.accept() as server,
        ):
            yield client, server

    def ends(self, toward: Toward) -> tuple[trio.SocketStream, trio.SocketStream]:
        if toward is Toward.SERVER:
            return self.client, self.server
        return self.server, self.client


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    async with (
        listener,
        open_proxy(listener.socket.getsockname()[1]) as proxy,
        await trio.open_tcp_stream(HOST, proxy.port) as client,
        await listener.accept() as server,
    ):
        # Until a byte has passed, the proxy may be connecting still.
        await client.send_all(b"?")
        await received(server, 1)
        yield Line(proxy, listener, client, server)


@pytest.fixture(params=[Toward.CLIENT, Toward.SERVER])
def toward(request: pytest.FixtureRequest) -> Toward:
    way: Toward = request.param
    return way


async def received_so_far(stream: trio.SocketStream) -> bytes:
    """Return what arrives until nothing happens any more."""
    received = bytearray()

    async def receive() -> None:
        async for some in stream:
            received.extend(some)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked(QUIET)
        nursery.cancel_scope.cancel()
    return bytes(received)


async def received(stream: trio.abc.Stream, count: int) -> bytes:
    some = b""
    with trio.fail_after(PATIENCE):
        while len(some) < count:
            more = await stream.receive_some(count - len(some))
            assert more, f"the end after {some!r}"
            some += more
    return some


async def assert_reset(stream: trio.SocketStream) -> None:
    with pytest.raises(trio.BrokenResourceError) as caught, trio.fail_after(PATIENCE):
        await stream.receive_some()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ECONNRESET


async def test_everything_passes_and_then_the_end(line: Line, toward: Toward) -> None:
    everything = bytes(range(256)) * 8_000
    async with trio.open_nursery() as nursery:
        source, target = line.ends(toward)
        nursery.start_soon(source.send_all, everything)
        assert await received(target, len(everything)) == everything
        await source.send_eof()
        assert await target.receive_some() == b""
        # The other way is open still.
        await target.send_all(b"back")
        assert await received(source, 4) == b"back"


async def test_a_stall_concerns_one_way(line: Line, toward: Toward) -> None:
    source, target = line.ends(toward)
    line.proxy.stall(toward)
    await source.send_all(b"held")
    await target.send_all(b"back")
    assert await received(source, 4) == b"back"
    assert await received_so_far(target) == b""
    line.proxy.heal()
    assert await received(target, 4) == b"held"


async def test_a_stall_concerns_new_connections(line: Line) -> None:
    line.proxy.stall()
    async with line.another() as (client, server):
        await client.send_all(b"held")
        assert await received_so_far(server) == b""
        line.proxy.heal()
        assert await received(server, 4) == b"held"


async def test_a_delay_ends_when_healed(line: Line, toward: Toward) -> None:
    source, target = line.ends(toward)
    line.proxy.delay(NEVER, toward=toward)
    await source.send_all(b"late")
    await target.send_all(b"back")
    assert await received(source, 4) == b"back"
    assert await received_so_far(target) == b""
    line.proxy.heal()
    assert await received(target, 4) == b"late"
    await source.send_all(b"soon")
    assert await received(target, 4) == b"soon"


async def test_delayed_bytes_come_in_order_and_not_before_their_time(line: Line) -> None:
    line.proxy.delay(0.02, jitter=0.02)
    sent = trio.current_time()
    for number in range(20):
        await line.client.send_all(bytes([number]))
        await trio.testing.wait_all_tasks_blocked()
    assert await received(line.server, 1) == b"\0"
    assert trio.current_time() - sent >= 0.02
    assert await received(line.server, 19) == bytes(range(1, 20))


async def test_a_trickle(line: Line, toward: Toward) -> None:
    source, target = line.ends(toward)
    line.proxy.trickle(3, NEVER, toward=toward)
    await source.send_all(b"abcdef")
    assert await received_so_far(target) == b"abc"
    line.proxy.heal()
    assert await received(target, 3) == b"def"


async def test_a_trickle_goes_on(line: Line) -> None:
    line.proxy.trickle(1, 0.001)
    await line.client.send_all(b"abcdef")
    assert await received(line.server, 6) == b"abcdef"


async def test_a_clean_cut(line: Line) -> None:
    line.proxy.cut()
    assert await line.client.receive_some() == b""
    assert await line.server.receive_some() == b""


async def test_a_clean_cut_of_a_stalled_connection(line: Line) -> None:
    line.proxy.stall()
    await line.client.send_all(b"never seen")
    await trio.testing.wait_all_tasks_blocked(QUIET)
    line.proxy.cut()
    assert await line.client.receive_some() == b""
    assert await line.server.receive_some() == b""


async def test_a_reset(line: Line) -> None:
    assert line.proxy.open_connections == 1
    line.proxy.reset()
    await assert_reset(line.client)
    await assert_reset(line.server)
    assert line.proxy.open_connections == 0


async def test_a_reset_after_some_bytes(line: Line, toward: Toward) -> None:
    source, target = line.ends(toward)
    await source.send_all(b"before")
    assert await received(target, 6) == b"before"
    line.proxy.reset_after(5, toward=toward)
    await source.send_all(b"abc")
    assert await received(target, 3) == b"abc"
    await source.send_all(b"defgh")
    assert await received(target, 2) == b"de"
    await assert_reset(target)
    await assert_reset(source)


async def test_a_reset_after_some_bytes_of_a_new_connection_until_healed(line: Line) -> None:
    line.proxy.reset_after(5, toward=Toward.SERVER)
    async with line.another() as (client, server):
        await client.send_all(b"abcdefgh")
        assert await received(server, 5) == b"abcde"
        await assert_reset(server)
    line.proxy.heal()
    async with line.another() as (client, server):
        await client.send_all(b"abcdefgh")
        assert await received(server, 8) == b"abcdefgh"


async def test_a_refusal_concerns_new_connections(line: Line) -> None:
    port = line.proxy.port
    line.proxy.refuse()
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream(HOST, port)
    await line.client.send_all(b"open still")
    assert await received(line.server, 10) == b"open still"

    line.proxy.heal()
    assert line.proxy.port == port
    async with line.another() as (client, server):
        await client.send_all(b"again")
        assert await received(server, 5) == b"again"
    assert line.proxy.connections == 2


async def test_a_half_close(line: Line, toward: Toward) -> None:
    source, target = line.ends(toward)
    line.proxy.half_close(toward)
    assert await target.receive_some() == b""
    await source.send_all(b"dropped")
    await target.send_all(b"back")
    assert await received(source, 4) == b"back"


async def test_a_peer_that_vanishes_takes_the_other_along(line: Line, toward: Toward) -> None:
    source, target = line.ends(toward)
    # Closing with something unread in it is a reset.
    await target.send_all(b"unread")
    await trio.testing.wait_all_tasks_blocked(QUIET)
    source.socket.close()
    await assert_reset(target)


async def test_without_a_server_connections_are_reset() -> None:
    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with trio.fail_after(PATIENCE):
        async with (
            open_proxy(port) as proxy,
            await trio.open_tcp_stream(HOST, proxy.port) as client,
        ):
            await assert_reset(client)


async def test_tls_towards_the_client() -> None:
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    port = listener.socket.getsockname()[1]
    with trio.fail_after(PATIENCE):
        async with listener, open_proxy(port, server_side) as proxy:
            client = await trio.open_ssl_over_tcp_stream(HOST, proxy.port, ssl_context=client_side)
            async with client:
                await client.do_handshake()
                server = await listener.accept()
                await client.send_all(b"secret")
                assert await received(server, 6) == b"secret"
                await server.send_all(b"back")
                assert await received(client, 4) == b"back"
                await server.aclose()
                with pytest.raises(trio.BrokenResourceError):  # cut without TLS's farewell
                    await client.receive_some()
