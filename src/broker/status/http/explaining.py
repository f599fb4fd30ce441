"""`POST /explain`: what would become of a message, for those who sit at the broker's machine.

An explanation tells who is online and who has how much to do, and a message may take as long as
deciding it. So neither other machines nor pages in a browser may ask: not by a form, which cannot
send JSON; not by a script of another site, which would need leave by CORS and gets none; and not by
one whose name was made to resolve to this machine, as browsers name the origin with each POST.
"""

from contextlib import aclosing
from ipaddress import ip_address

import msgspec
import structlog
import trio
from starlette.requests import ClientDisconnect, Request

from broker.core.messages import RejectReason
from broker.router.explanation import Explanation
from broker.router.task import Router
from broker.telemetry.tally import DEAD_LETTERED

_PATIENCE = 10.0
"""Seconds in which the whole message must have come."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers by which a proxy tells that it asks for somebody else."""

_log = structlog.get_logger(__name__)


class RefusedError(Exception):
    """A request that gets no explanation; the text says why, in a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def explained(request: Request, router: Router) -> bytes:
    """Return the explanation of the message in a request, as JSON.

    Raises:
        RefusedError: The request is not from this machine, comes from a page in a browser, or is
            none that can be answered.
    """
    _judge(request)
    most = router.limits.max_message_bytes
    body = await _body(request, most)
    if len(body) > most:
        error = f"the body has more than the {most} bytes that are allowed"
        too_large = Explanation(DEAD_LETTERED, reason=RejectReason.TOO_LARGE.value, error=error)
        return msgspec.json.encode(too_large)
    try:
        return msgspec.json.encode(router.explain(body))
    except Exception as error:  # noqa: BLE001 - a bug; its text may quote the message
        _log.error("explanation_failed", error=type(error).__name__)
        raise RefusedError(500, "the broker failed to explain this message") from None


def _judge(request: Request) -> None:
    is_from_here = request.client is not None and _is_loopback(request.client.host)
    if not is_from_here or any(name in request.headers for name in _FORWARDED):
        raise RefusedError(403, "only programs on the broker's own machine may ask: use loopback")
    if "origin" in request.headers:
        raise RefusedError(403, "pages in a browser may not ask")
    content_type, _, _ = request.headers.get("content-type", "").partition(";")
    if content_type.strip().lower() != "application/json":
        raise RefusedError(415, "Content-Type must be application/json")


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def _body(request: Request, most: int) -> bytes:
    """Return the message; of one that is too large only so much that this shows."""
    body = bytearray()
    try:
        with trio.fail_after(_PATIENCE):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk[: most + 1 - len(body)]
                    if len(body) > most:
                        break
    except trio.TooSlowError:
        raise RefusedError(408, f"the message did not come within {_PATIENCE:g} s") from None
    except ClientDisconnect:
        raise RefusedError(400, "the message was cut off") from None
    return bytes(body)
