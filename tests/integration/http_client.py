"""What asks the broker over HTTP, as probes and Prometheus do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http.client import HTTPConnection

import trio

from tests.integration.rig import Rig
from tests.lab.eventually import PATIENCE, eventually


@asynccontextmanager
async def serving(rig: Rig, websocket_url: str, **settings: str) -> AsyncIterator[int]:
    """Run a broker, and yield the port on which it serves."""
    async with rig.broker(websocket_url, BROKER_HTTP_PORT="0", **settings):
        yield await listening(rig)


async def listening(rig: Rig, times: int = 1) -> int:
    """Return the port on which the broker says it serves."""
    line = (await rig.logged("http_listening", times))[-1]
    return int(str(line["url"]).rpartition(":")[2])


def ask(port: int, path: str) -> tuple[int, str]:
    status, _, body = ask_for(port, path, {})
    return status, body


def ask_for(port: int, path: str, headers: dict[str, str]) -> tuple[int, str, str]:
    """Return status, content type and body of what is asked for with headers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


async def get(port: int, path: str) -> tuple[int, str]:
    return await trio.to_thread.run_sync(ask, port, path)


async def until_answered(port: int, path: str, status: int, text: str = "") -> str:
    """Ask until the answer has a status code and holds a text; return it."""
    _, answer = await eventually(
        lambda: get(port, path),
        f"{path} answers {status} with {text!r}",
        until=lambda answer: answer[0] == status and text in answer[1],
    )
    return answer


async def answer_to(port: int, sent: bytes) -> str:
    """Send bytes, and return the status line of the answer.

    A server answers as soon as it knows what to say, and hangs up. A client that still writes then
    finds the connection broken, but the answer is there to be read.
    """
    received = b""
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(sent)
                await stream.send_eof()
            with suppress(trio.BrokenResourceError):
                async for chunk in stream:
                    received += chunk
    return received.partition(b"\r\n")[0].decode()
