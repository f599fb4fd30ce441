"""A stand-in for the broker's HTTP endpoint: the page, and whatever a test lets it say."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import override
from urllib.parse import parse_qsl, urlsplit

import msgspec

from broker.status.model import AgentEntry, AgentList, Status
from broker.status.page import CONTENT_SECURITY_POLICY, runbook, status_page
from broker.status.rates import Series

_HOST = "127.0.0.1"
_INTERVAL = 0.2
"""Seconds between two statuses that are the same; another one comes at once."""


class StandIn:
    """What the stand-in says from now on. Made by `open_stand_in`."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._changed = threading.Condition()
        self.agents: list[AgentEntry] = []  # in the order in which they are listed
        self.history = Series(1)
        self.queries: list[dict[str, str]] = []  # for agents
        self.spans: list[str] = []  # of the history that were asked for
        self.is_frozen = False  # then connections stay open, but carry nothing
        self.has_stream = True  # else it is answered with 503
        self.streamed = threading.Event()  # set as soon as somebody has got a stream
        self._port = 0
        self._running: tuple[_Server, threading.Thread] | None = None

    @property
    def status(self) -> Status:
        return self._status

    @status.setter
    def status(self, status: Status) -> None:
        with self._changed:
            self._status = status
            self._changed.notify_all()

    def await_other(self, than: Status) -> None:
        """Wait until there is another status, or for so long that the same is due again."""
        with self._changed:
            self._changed.wait_for(lambda: self._status is not than, _INTERVAL)

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._port}/"

    def start(self) -> None:
        """Listen; again on the same port, if it did before."""
        server = _Server(self, self._port)
        self._port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self._running = server, thread

    def stop(self) -> None:
        """Break all streams, and listen no more."""
        if self._running is not None:
            server, thread = self._running
            self._running = None
            server.ending.set()
            server.shutdown()
            server.server_close()  # joins the threads of all requests
            thread.join()

    def listed(self, query: dict[str, str]) -> AgentList:
        """Return a page of the agents; sorting is left to the broker."""
        self.queries.append(query)
        offset, limit = int(query["offset"]), int(query["limit"])
        searched = query["search"].lower()
        matching = [
            agent
            for agent in self.agents
            if searched in f"{agent.agent_name} {agent.agent_id}".lower()
            and not ("online" in query and not agent.is_online)
            and not ("offline" in query and agent.is_online)
        ]
        return AgentList(len(self.agents), len(matching), matching[offset : offset + limit])


@contextmanager
def open_stand_in(status: Status) -> Iterator[StandIn]:
    """Run a stand-in on a free loopback port for the length of the context."""
    stand_in = StandIn(status)
    stand_in.start()
    try:
        yield stand_in
    finally:
        stand_in.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them

    def __init__(self, stand_in: StandIn, port: int) -> None:
        self.stand_in = stand_in
        self.ending = threading.Event()
        super().__init__((_HOST, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5

    def do_GET(self) -> None:
        stand_in = self.server.stand_in
        while stand_in.is_frozen and not self.server.ending.wait(_INTERVAL):
            pass
        requested = urlsplit(self.path)
        try:
            match requested.path:
                case "/":
                    self._answer("text/html", status_page().document, CONTENT_SECURITY_POLICY)
                case "/runbook":
                    self._answer("text/html", runbook(), CONTENT_SECURITY_POLICY)
                case "/events" if stand_in.has_stream:
                    self._stream()
                case "/events":
                    self.send_error(503)
                case "/status":
                    self._answer("application/json", msgspec.json.encode(stand_in.status))
                case "/history":
                    stand_in.spans += [span for _, span in parse_qsl(requested.query)]
                    self._answer("application/json", msgspec.json.encode(stand_in.history))
                case "/agents":
                    listed = stand_in.listed(
                        dict(parse_qsl(requested.query, keep_blank_values=True))
                    )
                    self._answer("application/json", msgspec.json.encode(listed))
                case path if file := status_page().files.get(path.removeprefix("/page/")):
                    self._answer(file.media_type, file.content)
                case _:
                    self.send_error(404)
        except OSError:
            pass  # The browser has left.

    def _answer(self, content_type: str, body: bytes, policy: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.server.stand_in.streamed.set()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while not self.server.ending.is_set():
            status = self.server.stand_in.status
            if not self.server.stand_in.is_frozen:
                self.wfile.write(b"event: status\ndata: " + msgspec.json.encode(status) + b"\n\n")
            self.server.stand_in.await_other(status)

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass
