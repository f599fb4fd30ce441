"""The sandbox's central server, which tests let refuse brokers, hang up or say something else."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial

from trio_websocket import WebSocketRequest

from broker.sandbox import central_server
from broker.sandbox.central_server import Message

type Answer = Callable[[central_server.CentralServer, Message], Iterable[Message]]

by_contract: Answer = central_server.CentralServer.answer


class CentralServer(central_server.CentralServer):
    """Made by `open_central_server`.

    Attributes:
        accepting: While False, brokers that connect are turned away with HTTP status 503.
    """

    def __init__(
        self,
        port: int,
        token: str | None = None,
        *,
        heartbeat_interval: float = 10.0,
        answer: Answer = by_contract,
    ) -> None:
        super().__init__(port, token)
        self.accepting = True
        self._heartbeat_interval = heartbeat_interval
        self._answer = answer

    def answer(self, message: Message) -> Iterable[Message]:
        return self._answer(self, message)

    def drop_sessions(self, code: int | None = None) -> None:
        """End all sessions, with a code, or without a closing handshake."""
        for session in self._sessions:
            session.drop(code)

    def _refusal(self, request: WebSocketRequest) -> int | None:
        return super()._refusal(request) if self.accepting else 503


def open_central_server(
    *,
    token: str | None = None,
    heartbeat_interval: float = 10.0,
    answer: Answer = by_contract,
) -> AbstractAsyncContextManager[CentralServer]:
    """Run a server on a free loopback port for the length of the context."""
    return central_server.open_central_server(
        partial(CentralServer, token=token, heartbeat_interval=heartbeat_interval, answer=answer)
    )
