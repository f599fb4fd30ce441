"""`broker explain` against an endpoint that serves what a test wants, and against a real broker."""

import io
import json
from pathlib import Path

import msgspec
import pytest
import trio

from broker.cli.application import execute
from broker.core.messages import AgentStatus
from broker.core.routing.hash_ring import RingPlace
from broker.core.routing.least_outstanding import Cost
from broker.router.explanation import Explanation, Filter, PolicyView
from broker.sandbox.broker_process import open_broker
from tests.cli.commands import PATIENCE
from tests.cli.listener import HOST
from tests.cli.test_agents import HOSTILE, serving
from tests.lab.central_server import open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.router.samples import chat
from tests.sandbox.programs import free_port

ROUTED = Explanation("routed", "agent_1", filters=[Filter("online", 2), Filter("not_sender", 1)])


@pytest.fixture
def message(tmp_path: Path) -> str:
    path = tmp_path / "message.json"
    path.write_bytes(chat())
    return str(path)


async def run(*arguments: str) -> int:
    """Run the command in a thread, as it has a Trio of its own."""
    with trio.fail_after(PATIENCE):
        return await trio.to_thread.run_sync(execute, ["explain", *arguments])


class TestText:
    @pytest.fixture(autouse=True)
    def message_and_output(self, message: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.message = message
        self.capsys = capsys

    async def shown(self, explanation: Explanation, code: int = 0) -> list[str]:
        """Return the lines that are printed, without needless spaces."""
        async with serving(explanation) as endpoint:
            assert await run(self.message, "--url", endpoint.url) == code
        assert endpoint.asked == ["/explain"]
        captured = self.capsys.readouterr()
        assert captured.err == ""
        return [" ".join(line.split()) for line in captured.out.splitlines()]

    async def test_a_certain_receiver(self) -> None:
        assert await self.shown(ROUTED) == [
            "It would be routed to agent_1.",
            "",
            "Agents left",
            "filter left",
            "online 2",
            "other than its sender 1",
        ]

    async def test_filters_that_come_from_the_message(self) -> None:
        filters = [
            Filter("receiver", 3, "agent_7", "offline"),
            Filter("capability", 2, "ocr"),
            Filter("newer", 1),
        ]
        lines = await self.shown(Explanation("routed", filters=filters))
        assert lines[0] == "It would be routed to one of several agents."
        assert lines[-3:] == [
            "its receiver_id agent_7 3 it is offline",
            "able to ocr 2",
            "newer 1",
        ]

    @pytest.mark.parametrize(
        ("explanation", "said"),
        [
            (
                Explanation("no_capable_agent"),
                "answered by an ERROR, no_capable_agent: no agent that is online has all capabili",
            ),
            (
                Explanation("no_agent_online", held_seconds=30.0),
                "held until somebody can receive it, and after 30 s answered by an ERROR, no_agen",
            ),
            (Explanation("newer_reason"), "answered by an ERROR, newer_reason."),
            (
                Explanation("dead_lettered", reason="too_deep", error="it is nested\nfar"),
                r"dead-lettered as too_deep: it is nested\nfar.",
            ),
        ],
    )
    async def test_nobody_receives_it(self, explanation: Explanation, said: str) -> None:
        [line] = await self.shown(explanation, code=1)
        assert line.startswith(f"It would be {said}")

    async def test_an_error_of_an_agent(self) -> None:
        assert await self.shown(Explanation("forwarded")) == [
            "It would be forwarded to the server, as an ERROR is not routed."
        ]

    async def test_while_routing_is_paused(self) -> None:
        paused, verdict, *_ = await self.shown(msgspec.structs.replace(ROUTED, paused=True))
        assert "messages wait in RabbitMQ" in paused
        assert verdict == "It would be routed to agent_1."

    @pytest.mark.parametrize(
        ("policy", "said"),
        [
            (PolicyView("random", 7), "The policy random chooses any of 7."),
            (PolicyView("random", 1), "The policy random has only one to choose from."),
            (
                PolicyView("consistent_hash", 7, key="c-1"),
                "The policy consistent_hash gives the conversation c-1 to agent_1, of 7.",
            ),
            (
                PolicyView("consistent_hash", 7, key="c", place=RingPlace(0.25, 0.3, "agent_1")),
                "On the ring it lies at 0.2500, and its nearest point at 0.3000.",
            ),
            (
                PolicyView("consistent_hash", 7, key="c", place=RingPlace(0.25, 0.3, "agent_2")),
                "the nearest point is that of agent_2, who may not receive it, at 0.3000.",
            ),
            (
                PolicyView("mine.policies:Best", 7, is_known=False),
                "The policy mine.policies:Best chooses among 7, or none of them. It is not called",
            ),
        ],
    )
    async def test_the_policy(self, policy: PolicyView, said: str) -> None:
        lines = await self.shown(Explanation("routed", "agent_1", policy=policy))
        assert lines[1] == ""
        assert lines[2].startswith(f"The policy {policy.name}")
        assert said in lines[2]

    @pytest.mark.parametrize(
        ("costs", "said"),
        [
            ([Cost("a", 0.5, 0), Cost("b", 9.0, 2)], "Of these, a costs less:"),
            ([Cost("a", 0.0, 0), Cost("b", 0.0, 0)], "Chance decides between these, as they cost"),
            (
                [Cost("a", 0.5, 0, is_silent=True), Cost("b", 9.0, 2)],
                "never answers costs as much as is usual:",
            ),
        ],
    )
    async def test_costs(self, costs: list[Cost], said: str) -> None:
        view = PolicyView("least_outstanding", 7, compared=costs)
        lines = await self.shown(Explanation("routed", policy=view))
        assert lines[2].startswith("The policy least_outstanding compares two of 7, drawn at")
        assert said in lines[2]
        assert lines[3] == "agent cost outstanding answers in oldest waits for"
        assert [line.split()[0] for line in lines[4:]] == [cost.agent_id for cost in costs]

    async def test_a_cost_says_where_it_comes_from(self) -> None:
        compared = [Cost("a", 13.5, 2, 4.5, 75.0), Cost("b", 14.0, 1)]
        view = PolicyView("least_outstanding", 2, compared=compared)
        lines = await self.shown(Explanation("routed", policy=view))
        assert lines[-2:] == ["a 13.5 2 4.5 s 1 min", "b 14 1 - -"]

    async def test_hostile_ids_stay_text(self) -> None:
        lines = await self.shown(
            Explanation(
                "routed",
                HOSTILE,
                filters=[Filter("capability", 1, "[bold]" + HOSTILE), Filter(HOSTILE, 1)],
                policy=PolicyView(HOSTILE, 1, key=HOSTILE, compared=[Cost(HOSTILE, 0.0, 0)]),
            )
        )
        assert all(line.isprintable() for line in lines)
        assert any(r"[bold]\x1b[2J\u202egnp.tnega\n" in line for line in lines)


async def test_json(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(ROUTED) as endpoint:
        assert await run(message, "--url", endpoint.url, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(msgspec.json.encode(ROUTED))


async def test_a_refusal_is_passed_on(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(b"only from here\n", "403 Forbidden") as endpoint:
        assert await run(message, "--url", endpoint.url) == 1
    assert capsys.readouterr().err.endswith("/explain refuses: only from here\n")


def test_what_is_larger_than_any_message(
    message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("broker.cli.explain.MAX_BODY_BYTES", 10)
    assert execute(["explain", message]) == 2
    assert "is larger than any message: 10 bytes" in capsys.readouterr().err


async def test_a_real_broker(
    rabbitmq: RabbitmqNode,
    tmp_path: Path,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = str(free_port())
    secret = "Tr0ub4dor"
    body = chat("bob", required_capabilities=["ocr"], text_payload=secret)
    able = AgentStatus("alice", "Alice", is_online=True, capabilities=("ocr",))
    variables = {"AMQP_URL": rabbitmq.url, "BROKER_HTTP_PORT": port, "BROKER_LOG_LEVEL": "debug"}
    variables |= {"BROKER_ROUTING_POLICY": "least_outstanding", "BROKER_MAX_MESSAGE_BYTES": "5000"}
    monkeypatch.setenv("BROKER_HTTP_PORT", port)

    async def explained(message: bytes) -> Explanation:
        stdin = io.TextIOWrapper(io.BytesIO(message))
        monkeypatch.setattr("sys.stdin", stdin)
        code = await run("-", "--format", "json")
        found = msgspec.json.decode(capsys.readouterr().out, type=Explanation)
        assert code == (found.outcome != "routed")
        return found

    async with open_central_server() as server:
        async with open_broker(tmp_path, {**variables, "WEBSOCKET_URL": server.url}) as broker:
            server.update(able, AgentStatus("bob", is_online=True))
            with trio.fail_after(PATIENCE):
                while await run(message) != 0:
                    await trio.sleep(0.1)
            capsys.readouterr()
            found = await explained(body)
            assert found.outcome == "routed"
            assert found.receiver_id == "alice"
            assert found.filters == [
                Filter("online", 2),
                Filter("not_sender", 1),
                Filter("capability", 1, "ocr"),
            ]
            assert found.policy is not None
            assert [cost.agent_id for cost in found.policy.compared] == ["alice"]
            assert (await explained(b'{"message_type": "' + secret.encode())).reason is not None
            assert (await explained(b"x" * 6_000)).reason == "too_large"

            agents = ["agents", "--capability", "ocr", "--online", "--format", "json"]
            assert await trio.to_thread.run_sync(execute, agents) == 0
            [listed] = json.loads(capsys.readouterr().out)["agents"]
            assert (listed["agent_id"], listed["capabilities"]) == ("alice", ["ocr"])
            assert (listed["routed"], listed["outstanding"]) == (0, 0), "nothing was done"
            status = ["status", "--url", f"http://{HOST}:{port}"]
            assert await trio.to_thread.run_sync(execute, status) == 0
            assert "least_outstanding, receiver_id: ignore" in capsys.readouterr().out
        assert secret not in broker.log.read_text()
