"""Why a connection failed, in words. The one place that words what the system and libraries say."""

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator

_ERRORS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the peer",
    errno.EPIPE: "connection closed by the peer",
    errno.ETIMEDOUT: "no answer in time",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "network unreachable",
}
_NAME_ERRORS = {
    socket.EAI_NONAME: "name not found",
    socket.EAI_NODATA: "name without an address",
    socket.EAI_AGAIN: "name service unavailable",
}
_NUMBER = re.compile(r"\[Errno (\d+)\]")


def cause_in_words(error: BaseException) -> str:
    """Return why a connection failed, for the middle of a sentence; empty if nothing is known.

    Libraries try each address of a name, and raise one error for all of them: each cause is named
    once.
    """
    return ", ".join(dict.fromkeys(filter(None, _causes(error))))


def _causes(error: BaseException) -> Iterator[str]:
    match error:
        case BaseExceptionGroup():
            for one in error.exceptions:
                yield from _causes(one)
        case socket.gaierror():
            yield _NAME_ERRORS.get(error.errno or 0) or _lowered(error.strerror)
        case ssl.SSLError():  # its number is OpenSSL's
            yield error.strerror or str(error)
        case OSError() if error.errno is not None:
            yield _of_number(error.errno)
        case OSError() if isinstance(error.__cause__, BaseExceptionGroup):  # Trio's
            yield from _causes(error.__cause__)
        case OSError() if numbers := _NUMBER.findall(str(error)):  # aiohappyeyeballs'
            yield from (_of_number(int(number)) for number in numbers)
        case _:
            yield _lowered(str(error))


def _of_number(number: int) -> str:
    return _ERRORS.get(number) or _lowered(os.strerror(number))


def _lowered(text: str | None) -> str:
    text = text or ""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
