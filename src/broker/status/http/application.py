"""What answers to which path."""

from collections.abc import AsyncIterator, Sequence

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from broker.status import snapshot
from broker.status.agents import agents
from broker.status.http.explaining import RefusedError, explained
from broker.status.http.queries import agent_query, span
from broker.status.liveness import liveness
from broker.status.metrics import exposition
from broker.status.model import Check
from broker.status.page import CONTENT_SECURITY_POLICY, runbook, status_page
from broker.status.rates import RateHistory
from broker.status.readiness import readiness
from broker.status.vitals import Vitals

INTERVAL = 1.0
"""Seconds between two events, and between two looks at the counters."""
_MOST_STREAMS = 50
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def application(vitals: Vitals, history: RateHistory) -> Starlette:
    """Return the application; somebody else adds to the history."""
    endpoints = _Endpoints(vitals, history)
    return Starlette(
        routes=[
            Route("/", endpoints.page),
            Route("/page/{name}", endpoints.page_file),
            Route("/runbook", endpoints.runbook),
            Route("/livez", endpoints.livez),
            Route("/readyz", endpoints.readyz),
            Route("/metrics", endpoints.metrics),
            Route("/status", endpoints.status),
            Route("/events", endpoints.events),
            Route("/history", endpoints.history),
            Route("/agents", endpoints.agents),
            Route("/explain", endpoints.explain, methods=["POST"]),
        ]
    )


class _Endpoints:
    def __init__(self, vitals: Vitals, history: RateHistory) -> None:
        self._vitals = vitals
        self._history = history
        self._exposition = exposition(vitals)
        self._listing = trio.Lock()
        self._streams = trio.CapacityLimiter(_MOST_STREAMS)

    async def page(self, _: Request) -> Response:
        return _document(status_page().document)

    async def page_file(self, request: Request) -> Response:
        file = status_page().files.get(request.path_params["name"])
        if file is None:
            return _refusal(404, "the page has no such file")
        return Response(file.content, media_type=file.media_type, headers=_HEADERS)

    async def runbook(self, _: Request) -> Response:
        # It takes a while to make, so it is made when it is first wanted, and in another thread.
        return _document(await trio.to_thread.run_sync(runbook))

    async def livez(self, request: Request) -> Response:
        return _verdict("livez", await liveness(self._vitals), request)

    async def readyz(self, request: Request) -> Response:
        return _verdict("readyz", readiness(self._vitals), request)

    async def metrics(self, request: Request) -> Response:
        body, content_type = self._exposition(request.headers.get("accept", ""))
        return Response(body, media_type=content_type, headers=_HEADERS)

    async def status(self, _: Request) -> Response:
        return _json(snapshot.status(self._vitals, self._history.rates()))

    async def history(self, request: Request) -> Response:
        try:
            wanted = span(request.query_params)
        except ValueError as error:
            return _refusal(400, str(error))
        return _json(self._history.series(wanted))

    async def agents(self, request: Request) -> Response:
        try:
            query = agent_query(request.query_params)
        except ValueError as error:
            return _refusal(400, str(error))
        # However many look at the page, they take no more of the broker's time than one of them.
        async with self._listing:
            return _json(await agents(self._vitals, query))

    async def explain(self, request: Request) -> Response:
        try:
            body = await explained(request, self._vitals.router)
        except RefusedError as refused:
            return _refusal(refused.status, str(refused))
        return Response(body, media_type="application/json", headers=_HEADERS)

    async def events(self, _: Request) -> Response:
        if not self._streams.available_tokens:
            return _refusal(503, "too many look at this already")
        stream = self._stream()
        return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)

    async def _stream(self) -> AsyncIterator[bytes]:
        async with self._streams:
            while True:
                status = msgspec.json.encode(snapshot.status(self._vitals, self._history.rates()))
                yield b"event: status\ndata: " + status + b"\n\n"
                await trio.sleep(INTERVAL)


def _document(document: bytes) -> Response:
    headers = _HEADERS | {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
    return Response(document, media_type="text/html", headers=headers)


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


def _refusal(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers=_HEADERS)


def _json(value: object) -> Response:
    body = msgspec.json.encode(value)
    return Response(body, media_type="application/json", headers=_HEADERS)
