"""Ports for programs that cannot choose one themselves."""

import socket
from typing import Final

HOST: Final = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return different loopback ports on which nothing listens at the moment."""
    # All are held until all are known, so that they differ.
    holders = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports
