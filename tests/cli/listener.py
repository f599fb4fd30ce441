"""Something that listens and is no broker, server or node: it answers whatever is said."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import trio

HOST = "127.0.0.1"


@asynccontextmanager
async def open_listener(
    answer: Callable[[], bytes] = bytes, *, hangs_up: bool = False
) -> AsyncIterator[int]:
    """Answer what is said, and hang up afterwards or not; yields the port."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    await stream.send_all(answer())
                    if hangs_up:
                        return

    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def http(body: bytes | object, status: str = "200 OK") -> bytes:
    """Return an HTTP answer with a text, or with a JSON document."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    return head.encode() + content
