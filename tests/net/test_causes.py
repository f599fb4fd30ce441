"""Why a connection failed, as libraries say it, in words."""

import asyncio
import errno
import os
import socket
import ssl

import aiohappyeyeballs
import pytest
import trio

from broker.net.causes import cause_in_words
from broker.sandbox.free_ports import free_ports

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 9)")
UNREACHABLE = OSError(errno.ENETUNREACH, "Connect call failed ('::1', 9, 0, 0)")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (REFUSED, "connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name not found"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "name service unavailable"),
        (socket.gaierror(socket.EAI_FAMILY, "Family not supported"), "family not supported"),
        (OSError(errno.EMFILE, "x"), os.strerror(errno.EMFILE).lower()),
        (OSError(errno.EIO, None), "input/output error"),
        (OSError("EOF occurred"), "EOF occurred"),
        (OSError(), ""),
        (ssl.SSLError(1, "[SSL] wrong version number"), "[SSL] wrong version number"),
        (ExceptionGroup("", [REFUSED, REFUSED]), "connection refused"),
        (
            ExceptionGroup("", [REFUSED, ExceptionGroup("", [UNREACHABLE])]),
            "connection refused, network unreachable",
        ),
        (
            OSError(f"Multiple exceptions: {REFUSED}, {UNREACHABLE}"),
            "connection refused, network unreachable",
        ),
        (ValueError("Odd"), "odd"),
    ],
    ids=repr,
)
def test_words(error: Exception, words: str) -> None:
    assert cause_in_words(error) == words


async def test_what_trio_says_of_several_addresses() -> None:
    [port] = free_ports(1)
    with pytest.raises(OSError, match="all attempts to connect") as caught:
        await trio.open_tcp_stream("localhost", port)
    assert cause_in_words(caught.value) == "connection refused"


def test_what_aiohappyeyeballs_says_of_several_addresses() -> None:
    [port] = free_ports(1)
    addresses = [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))
        for host in ("127.0.0.1", "127.0.0.2")
    ]
    with pytest.raises(OSError, match="Multiple exceptions") as caught:
        asyncio.run(aiohappyeyeballs.start_connection(addresses))
    assert cause_in_words(caught.value) == "connection refused"
