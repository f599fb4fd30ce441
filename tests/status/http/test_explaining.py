"""Who may ask for an explanation, and how much of a message is read."""

from typing import Any, cast

import msgspec
import pytest
import structlog
import trio
from starlette.requests import Request
from starlette.types import Message

from broker.router.explanation import Explanation
from broker.router.rules import Limits
from broker.status.http.explaining import RefusedError, explained
from tests.lab.autojump import autojump

MOST = 100
JSON = {"content-type": "application/json"}
ANSWER = Explanation("forwarded", filters=[])


class Desk:
    """Stands for the router, and notes down what it is asked."""

    def __init__(self) -> None:
        self.limits = Limits(MOST, max_agents=1)
        self.bodies: list[bytes] = []
        self.fails = False

    def explain(self, body: bytes) -> Explanation:
        self.bodies.append(body)
        if self.fails:
            raise RuntimeError(body)
        return ANSWER


class Client:
    """Sends a request in pieces."""

    def __init__(self, *pieces: bytes, hangs_up: bool = False, hangs: bool = False) -> None:
        self.messages: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": place < len(pieces)}
            for place, piece in enumerate(pieces, start=1 - hangs_up - hangs)
        ]
        if hangs_up:
            self.messages.append({"type": "http.disconnect"})

    async def receive(self) -> Message:
        if not self.messages:
            await trio.sleep_forever()
        return self.messages.pop(0)


async def ask(
    desk: Desk,
    client: Client,
    host: str | None = "127.0.0.1",
    headers: dict[str, str] | None = None,
) -> Explanation:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/explain",
        "client": None if host is None else (host, 50_000),
        "headers": [
            (name.encode(), value.encode())
            for name, value in (JSON if headers is None else headers).items()
        ],
    }
    request = Request(scope, client.receive)
    answer = await explained(request, cast("Any", desk))
    return msgspec.json.decode(answer, type=Explanation)


async def refused(desk: Desk, client: Client, **given: Any) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        await ask(desk, client, **given)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_may_ask(host: str) -> None:
    desk = Desk()
    assert await ask(desk, Client(b"{", b"}"), host=host) == ANSWER
    assert desk.bodies == [b"{}"]


@pytest.mark.parametrize("host", ["10.0.0.7", "2001:db8::1", "::ffff:10.0.0.7", "unix", "", None])
async def test_others_may_not(host: str | None) -> None:
    desk = Desk()
    status, text = await refused(desk, Client(b"{}"), host=host)
    assert (status, desk.bodies) == (403, [])
    assert "on the broker's own machine" in text


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip", "via"])
async def test_nor_by_way_of_a_proxy(header: str) -> None:
    assert (await refused(Desk(), Client(b"{}"), headers={**JSON, header: "x"}))[0] == 403


async def test_nor_from_a_page_in_a_browser() -> None:
    for origin in ("http://127.0.0.1:9780", "null"):
        headers = {**JSON, "origin": origin}
        status, text = await refused(Desk(), Client(b"{}"), headers=headers)
        assert (status, text) == (403, "pages in a browser may not ask")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""]
)
async def test_a_form_is_refused(content_type: str) -> None:
    status, text = await refused(Desk(), Client(b"{}"), headers={"content-type": content_type})
    assert (status, text) == (415, "Content-Type must be application/json")
    assert (await refused(Desk(), Client(b"{}"), headers={}))[0] == 415


async def test_a_charset_does_no_harm() -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert await ask(Desk(), Client(b"{}"), headers=headers) == ANSWER


async def test_no_more_is_read_than_is_allowed() -> None:
    desk = Desk()
    assert await ask(desk, Client(b"x" * MOST)) == ANSWER
    client = Client(b"x" * MOST, b"x", b"x" * 1_000_000)
    too_large = await ask(desk, client)
    assert (too_large.outcome, too_large.reason) == ("dead_lettered", "too_large")
    assert too_large.error == "the body has more than the 100 bytes that are allowed"
    assert len(client.messages) == 1, "the rest is not even received"
    assert desk.bodies == [b"x" * MOST]


async def test_one_that_is_cut_off() -> None:
    desk = Desk()
    assert (await refused(desk, Client(b"{", hangs_up=True)))[0] == 400
    assert desk.bodies == []


@autojump
async def test_one_that_does_not_come() -> None:
    status, text = await refused(Desk(), Client(b"{", hangs=True))
    assert (status, text) == (408, "the message did not come within 10 s")


async def test_a_bug_quotes_nothing_of_the_message() -> None:
    desk = Desk()
    desk.fails = True
    with structlog.testing.capture_logs() as lines:
        status, text = await refused(desk, Client(b"hidden"))
    assert status == 500
    assert "hidden" not in text
    assert lines == [{"event": "explanation_failed", "error": "RuntimeError", "log_level": "error"}]
