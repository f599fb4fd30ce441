"""A TLS server on the system's sockets, which tell why they refuse."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HOST = "127.0.0.1"
PATIENCE = 60.0


@contextmanager
def open_tls_listener(context: ssl.SSLContext) -> Iterator[int]:
    """Shake hands with whoever comes, with the system's sockets, which tell why they refuse."""

    def serve() -> None:
        with suppress(OSError):  # closed at the end
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True):
                    pass

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
