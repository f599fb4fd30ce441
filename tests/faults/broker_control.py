"""One broker that is killed, stopped, frozen and started again, with the same settings."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from tests.lab.eventually import eventually
from tests.lab.running_broker import RunningBroker, running_broker

_END_TIMEOUT = 30.0
"""Seconds until a broker that was told to end must have ended."""
KILLED = 128 + signal.SIGKILL


class BrokerControl:
    """The broker of one scenario: life after life, one log."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.log = directory / "broker.log"
        self._directory = directory
        self._settings = settings
        self._lives = AsyncExitStack()
        self._process: RunningBroker | None = None
        self._log_begin = 0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        return self._started.pid

    async def start(self, command: Sequence[str] | None = None, **settings: str) -> None:
        """Start a broker. Returns before it routes."""
        assert not self.is_running, "there is a broker already"
        await self._lives.aclose()
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        self._process = await self._lives.enter_async_context(
            running_broker(self._directory, {**self._settings, **settings}, command)
        )

    async def logged(self, event: str, *, times: int = 1, within: float = 30.0) -> None:
        await eventually(
            lambda: self.times_logged(event) >= times, f"{event!r} in the log", within=within
        )

    def must_not_have_logged(self, *events: str) -> None:
        for event in events:
            assert not self.times_logged(event), f"the broker has logged {event!r}"

    def times_logged(self, event: str) -> int:
        with self.log.open("rb") as log:
            log.seek(self._log_begin)
            return log.read().count(b'"event": "%s"' % event.encode())

    def url(self) -> str | None:
        """Where this life serves HTTP; None while it does not."""
        with self.log.open("rb") as log:
            log.seek(self._log_begin)
            for line in log:
                if b'"http_listening"' in line and line.endswith(b"\n"):
                    return str(json.loads(line)["url"]).rstrip("/")
        return None

    async def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        code = await self.ended()
        assert code == KILLED, f"the broker had ended by itself, with exit code {code}"

    async def terminate(self) -> int:
        self.send(signal.SIGTERM)
        return await self.ended()

    async def stop(self) -> None:
        """Ask it to stop, having settled everything."""
        code = await self.terminate()
        assert code == 0, f"the broker stopped with exit code {code}"

    def pause(self) -> None:
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    async def ended(self, within: float = _END_TIMEOUT) -> int:
        code: int | None = None
        with trio.move_on_after(within):
            code = await self._started.wait()
        assert code is not None, f"the broker has not ended within {within:g} s"
        return code

    async def close(self) -> None:
        """End it by force if need be."""
        if self.is_running:
            self.resume()  # or it could not see that it is to end
        await self._lives.aclose()

    def send(self, number: signal.Signals) -> None:
        assert self.is_running, "the broker has ended by itself"
        os.kill(self._started.pid, number)

    @property
    def _started(self) -> RunningBroker:
        assert self._process is not None, "the broker has not been started"
        return self._process
