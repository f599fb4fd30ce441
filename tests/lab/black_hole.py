"""An address where nobody answers."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

_CONNECTIONS = 4
"""More than a listener without a backlog keeps: whatever comes after them gets no answer at all."""


@contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Yield a port that leaves each attempt to connect without an answer, instead of refusing."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(_CONNECTIONS):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.connect(address)
        yield address[1]
