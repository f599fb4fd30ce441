"""What answers to which path."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import trio
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from broker.status import snapshot
from broker.status.liveness import liveness
from broker.status.metrics import exposition
from broker.status.model import Check
from broker.status.page import status_page
from broker.status.rates import RateHistory
from broker.status.readiness import readiness
from broker.status.vitals import Vitals

INTERVAL = 1.0
"""Seconds between two events, and between two looks at the counters."""
_MOST_STREAMS = 50
_MOST_AGENTS = 1_000
_LONGEST_SEARCH = 255
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

type Endpoint = Callable[[Request], Awaitable[Response]]


def application(vitals: Vitals, history: RateHistory) -> Starlette:
    """Return the application.

    Args:
        vitals: Where the state of the broker is found.
        history: Messages per second; somebody else adds to it.
    """
    paths: dict[str, Endpoint] = {
        "/": _page,
        "/livez": _livez(vitals),
        "/readyz": _readyz(vitals),
        "/metrics": _metrics(vitals),
        "/status": _status(vitals, history),
        "/events": _events(vitals, history),
        "/agents": _agents(vitals),
    }
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in paths.items()])


async def _page(_: Request) -> Response:
    page = status_page()
    headers = _HEADERS | {"Content-Security-Policy": page.content_security_policy}
    return Response(page.document, media_type="text/html", headers=headers)


def _livez(vitals: Vitals) -> Endpoint:
    async def livez(request: Request) -> Response:
        return _verdict("livez", await liveness(vitals), request)

    return livez


def _readyz(vitals: Vitals) -> Endpoint:
    async def readyz(request: Request) -> Response:
        return _verdict("readyz", readiness(vitals), request)

    return readyz


def _metrics(vitals: Vitals) -> Endpoint:
    write = exposition(vitals)

    async def metrics(_: Request) -> Response:
        return Response(write(), media_type=CONTENT_TYPE_LATEST, headers=_HEADERS)

    return metrics


def _status(vitals: Vitals, history: RateHistory) -> Endpoint:
    async def status(_: Request) -> Response:
        return _json(snapshot.status(vitals, history.rates()))

    return status


def _agents(vitals: Vitals) -> Endpoint:
    one_at_a_time = trio.Lock()

    async def agents(request: Request) -> Response:
        try:
            limit = int(request.query_params.get("limit", "100"))
        except ValueError:
            limit = 0
        if not 1 <= limit <= _MOST_AGENTS:
            text = f"limit must be a whole number from 1 to {_MOST_AGENTS}\n"
            return PlainTextResponse(text, 400, headers=_HEADERS)
        search = request.query_params.get("search", "")[:_LONGEST_SEARCH]
        # However many look at the page, they take no more of the broker's time than one of them.
        async with one_at_a_time:
            return _json(await snapshot.agents(vitals, search, limit))

    return agents


def _events(vitals: Vitals, history: RateHistory) -> Endpoint:
    streams = trio.CapacityLimiter(_MOST_STREAMS)

    async def stream() -> AsyncIterator[bytes]:
        async with streams:
            while True:
                status = msgspec.json.encode(snapshot.status(vitals, history.rates()))
                yield b"event: status\ndata: " + status + b"\n\n"
                await trio.sleep(INTERVAL)

    async def events(_: Request) -> Response:
        if not streams.available_tokens:
            return PlainTextResponse("too many look at this already\n", 503, headers=_HEADERS)
        return StreamingResponse(stream(), media_type="text/event-stream", headers=_HEADERS)

    return events


def _verdict(name: str, checks: Sequence[Check], request: Request) -> Response:
    failed = any(check.problem is not None for check in checks)
    lines = [f"{name} check {'failed' if failed else 'passed'}"]
    if failed or "verbose" in request.query_params:
        lines[:0] = [
            f"[+]{check.name} ok" if check.problem is None else f"[-]{check.name} {check.problem}"
            for check in checks
        ]
    text = "".join(f"{line}\n" for line in lines)
    return PlainTextResponse(text, 503 if failed else 200, headers=_HEADERS)


def _json(value: object) -> Response:
    body = msgspec.json.encode(value)
    return Response(body, media_type="application/json", headers=_HEADERS)
