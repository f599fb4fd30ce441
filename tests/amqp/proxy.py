"""A TCP proxy between the code under test and RabbitMQ that can be made to fail."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Proxy:
    """Attributes: `port`, where it listens; `connections`, how many it ever accepted."""

    def __init__(self, upstream_port: int, tls: ssl.SSLContext | None) -> None:
        self.port = 0
        self.connections = 0
        self._upstream_port = upstream_port
        self._tls = tls
        self._open: set[trio.CancelScope] = set()
        self._flowing = trio.Event()
        self._flowing.set()

    def cut(self) -> None:
        """Reset all connections."""
        for scope in self._open:
            scope.cancel()

    def stall(self) -> None:
        """Keep the connections open and forward nothing any more."""
        self._flowing = trio.Event()

    def resume(self) -> None:
        self._flowing.set()

    async def serve(self, client: trio.SocketStream) -> None:
        self.connections += 1
        stream: trio.abc.Stream = client
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                if self._tls is not None:
                    stream = trio.SSLStream(client, self._tls, server_side=True)
                    await stream.do_handshake()
                upstream = await trio.open_tcp_stream("127.0.0.1", self._upstream_port)
                async with upstream, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, stream, upstream, nursery)
                    nursery.start_soon(self._pump, upstream, stream, nursery)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                self._open.discard(scope)
                await trio.aclose_forcefully(client)

    async def _pump(
        self, source: trio.abc.Stream, target: trio.abc.Stream, nursery: trio.Nursery
    ) -> None:
        async for received in source:
            await self._flowing.wait()
            await target.send_all(received)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_proxy(upstream_port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(upstream_port, tls)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy.serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
