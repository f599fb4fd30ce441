"""`broker agents` against an endpoint that serves what a test wants."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import trio
from msgspec.structs import replace

from broker.cli.application import execute
from broker.status.model import AgentList
from tests.cli.commands import PATIENCE
from tests.cli.listener import HOST, http
from tests.sandbox.programs import free_port
from tests.status.page.statuses import agent

HOSTILE = "\x1b[2J\u202egnp.tnega\n" + "W" * 200


class Endpoint:
    """Answers with a document, and keeps what it is asked for."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.url = ""


@asynccontextmanager
async def serving(document: object, status: str = "200 OK") -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(http(document, status))

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            request = await stream.receive_some()
            endpoint.asked.append(request.decode().split()[1])
            await stream.send_all(endpoint.answer)

    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    endpoint.url = f"http://{HOST}:{listener.socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield endpoint
        nursery.cancel_scope.cancel()


async def run(*arguments: str) -> int:
    """Run the command in a thread, as it has a Trio of its own."""
    with trio.fail_after(PATIENCE):
        return await trio.to_thread.run_sync(execute, ["agents", *arguments])


def seen(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


LISTED = AgentList(
    known=1_234,
    matching=60,
    agents=[
        replace(agent(1), last_seen=seen(300_000), capabilities=("ocr", "pdf"), outstanding=3),
        replace(
            agent(2),
            last_seen=seen(203_000),
            outstanding=0,
            answer_seconds=1.25,
            last_message_at=seen(148_000),
            source="queue",
        ),
        replace(agent(3, is_online=False), last_seen=None, answer_seconds=75.0),
    ],
)


async def shown(document: AgentList, *arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    async with serving(document) as endpoint:
        assert await run("--url", endpoint.url, *arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


async def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    text = await shown(LISTED, "--online", capsys=capsys)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines == [
        "agent state routed outstanding",
        "id last seen last sent answers in capabilities",
        "Agent 1 online 63,522 3 ocr, pdf",
        "agent_1 3 d 11 h ago",
        "Agent 2 online (queue) 63,522 0",
        "agent_2 2 d 8 h ago 1 d 17 h ago 1.2 s",
        "Agent 3 offline 63,522 -",
        "agent_3 1 min",
        "",
        "Agents 1 to 3: 60 matching, 1,234 known. Next page: --offset 3",
    ]


async def test_columns_appear_only_when_there_is_something_in_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = await shown(AgentList(1, 1, [agent(1)]), capsys=capsys)
    assert "outstanding" not in text
    assert "capabilities" not in text
    assert text.endswith("\nAgents 1 to 1: 1 known.\n")


@pytest.mark.parametrize(
    ("listed", "arguments", "summary"),
    [
        (AgentList(0, 0, []), [], "No agent to list: 0 known."),
        (AgentList(5, 0, []), ["--search", "x"], "No agent to list: 0 matching, 5 known."),
        (AgentList(5, 5, []), ["--offset", "9"], "No agent to list: 5 known."),
        (AgentList(9, 9, [agent(1)]), ["--offset", "8"], "Agents 9 to 9: 9 known."),
    ],
)
async def test_the_summary(
    listed: AgentList,
    arguments: Sequence[str],
    summary: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (await shown(listed, *arguments, capsys=capsys)).splitlines()[-1] == summary


async def test_hostile_names_stay_text_and_it_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    hostile = replace(
        agent(1),
        agent_id=HOSTILE,
        agent_name="[bold]" + HOSTILE,
        capabilities=(HOSTILE, *(f"capability {number}" for number in range(60))),
        outstanding=1_000_000,
        answer_seconds=90_000.0,
        last_seen=seen(90_000),
        last_message_at=seen(90_000),
        source="queue",
    )
    text = await shown(AgentList(2, 2, [hostile, agent(2)]), capsys=capsys)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert r"[bold]\x1b[2J\u20" in text
    assert text.count("W") >= 200, "an id is never cut"
    assert " ".join(text.split()).count("more") == 1
    assert any("Agent 2" in line and "online" in line for line in lines)


async def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    text = await shown(LISTED, "--format", "json", capsys=capsys)
    assert msgspec.json.decode(text) == msgspec.json.decode(msgspec.json.encode(LISTED))


async def test_what_is_asked_for() -> None:
    async with serving(AgentList(0, 0, [])) as endpoint:
        assert await run("--url", endpoint.url) == 0
        filters = ("--online", "--capability", "a&b", "--search", "é x", "--offset", "7")
        assert await run("--url", f"{endpoint.url}/", *filters, "--limit", "9") == 0
        assert await run("--url", f"{endpoint.url}/proxied/agents?x=1", "--search", "\udcff") == 0
    assert endpoint.asked == [
        "/agents?limit=100",
        "/agents?search=%C3%A9+x&online=true&capability=a%26b&limit=9&offset=7",
        "/proxied/agents?x=1&search=%FF&limit=100",
    ]


class TestNoAnswer:
    def test_nobody_listens(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert execute(["agents", "--broker-http-port", str(free_port())]) == 1
        assert "is it running" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("status", "body", "said"),
        [
            ("400 Bad Request", b"limit must be less\n", "refuses: limit must be less"),
            ("403 Forbidden", b"<html>\n", "is not a broker (HTTP status 403)"),
            ("404 Not Found", b"Not Found", "is not a broker (HTTP status 404)"),
            ("200 OK", b"[]", "is not a broker (HTTP status 200)"),
        ],
    )
    async def test_something_else(
        self, status: str, body: bytes, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with serving(body, status) as endpoint:
            assert await run("--url", endpoint.url) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert said in captured.err
