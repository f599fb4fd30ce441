"""Runs the broker until it kills itself at a chosen point in the life of a message.

    python -m tests.faults.crash_at POINT N

The broker knows nothing of it: methods that messages pass through are wrapped before it starts.
When one of them is not there any more, the start fails; when none is called any more, the broker
does not die, and the scenario fails. It dies by SIGKILL, when it gets there for the N-th time.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from pamqp.commands import Basic

from broker.__main__ import main as run_broker
from broker.amqp.consumer import QueueConsumer
from broker.amqp.settlement import SettlementWindow
from broker.amqp.wire.writer import FrameWriter

Point = Literal["received", "publishing", "published", "confirmed", "acknowledged"]
"""When: a delivery has arrived; a publish got stuck on its way, and what does not wait for it did
not; a publish is on the wire; its confirm has arrived and nothing is acknowledged yet; an
acknowledgement is on the wire."""
POINTS: Sequence[Point] = get_args(Point)

_METHOD = slice(7, 11)  # behind the frame's header
_STUCK = 0.2
"""Seconds that publishes are stuck: acknowledgements that do not wait for them pass them."""


def command(point: Point, number: int) -> Sequence[str]:
    # By its path: what lies in the directory where it runs is not to be imported.
    return (sys.executable, "-P", str(Path(__file__)), point, str(number))


def main(point: str, number: int) -> NoReturn:
    """Wrap the method that belongs to the point, and run the broker."""
    arrive = countdown(number)
    match point:
        case "received":
            wrap(QueueConsumer, "delivered", _dying_before(arrive))
        case "publishing":
            wrap(FrameWriter, "write", _stuck(Basic.Publish.index, arrive))
        case "published":
            wrap(FrameWriter, "write", _dying_when_written(Basic.Publish.index, arrive))
        case "confirmed":
            # It is settled once its publishing is confirmed; acknowledged at the end of the turn.
            wrap(SettlementWindow, "settle", _dying_before(arrive))
        case "acknowledged":
            wrap(FrameWriter, "write", _dying_when_written(Basic.Ack.index, arrive))
        case _:
            sys.exit(f"crash_at: the point must be one of {', '.join(POINTS)}")
    run_broker()


def countdown(number: int) -> Callable[[], bool]:
    """Return a function that is true at its n-th call, and at no other."""
    calls = 0

    def arrive() -> bool:
        nonlocal calls
        calls += 1
        return calls == number

    return arrive


def wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    """Have a function called in place of a method, with the method and its arguments."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapped)


def _dying_before(arrive: Callable[[], bool]) -> Callable[..., Any]:
    def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if arrive():
            _die()
        return original(*args, **kwargs)

    return around


def _dying_when_written(method: int, arrive: Callable[[], bool]) -> Callable[..., None]:
    async def die_when_written(writer: FrameWriter) -> None:
        await writer.flushed()
        _die()

    tasks = set()  # asyncio itself would forget them

    def around(original: Callable[..., None], writer: FrameWriter, frames: bytes) -> None:
        original(writer, frames)
        if _method(frames) == method and arrive():
            tasks.add(asyncio.get_running_loop().create_task(die_when_written(writer)))

    return around


def _stuck(method: int, arrive: Callable[[], bool]) -> Callable[..., None]:
    is_stuck = False

    def around(original: Callable[..., None], writer: FrameWriter, frames: bytes) -> None:
        nonlocal is_stuck
        if _method(frames) == method and arrive():
            is_stuck = True
            asyncio.get_running_loop().call_later(_STUCK, _die)
        if not is_stuck or _method(frames) != method:
            original(writer, frames)

    return around


def _method(frames: bytes) -> int:
    return int.from_bytes(frames[_METHOD])


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives SIGKILL")


if __name__ == "__main__":
    point_, number_ = sys.argv[1:]
    del sys.argv[1:]
    main(point_, int(number_))
