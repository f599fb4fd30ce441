"""Contenders in other languages do the same work, and are named where they cannot be built."""

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.bench.builds import build_amqplib, build_each, build_rabbitmq_c
from tests.bench.environment import AMQPLIB, RABBITMQ_C, Contender, Environment
from tests.bench.names import AGENTS, INPUT_QUEUE, OUTPUT_QUEUE, QUEUES
from tests.bench.report import markdown
from tests.bench.results import Results, Run
from tests.bench.targets import targets
from tests.bench.throughput import measure
from tests.lab.amqp_client import AmqpClient
from tests.lab.central_server import open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode

LOCK = Path(__file__).parent / "contenders" / "node" / "package-lock.json"
PATIENCE = 180.0
"""Nothing here takes this long; it turns a hang into a failure."""
COUNT = 300
SENDER = AGENTS[0]
BODY = (
    b' {"_client_id": "c\\"1\\\\", "text_payload" : "half an emoji \\ud83d, {\\"[", '
    b'"sender_id": "%b","receiver_id":null,\n"nested":{"sender_id":["x"],"deep":[{"_client_id":'
    b'1},"]}"]},"_broadcast":true ,"_target_agent_id":{"a":[]},"big":123456789012345678901.0 } '
) % SENDER.encode()
decoded = partial(json.loads, parse_int=float)


@pytest.fixture(params=[RABBITMQ_C, AMQPLIB], ids=lambda one: one.name)
def contender(request: pytest.FixtureRequest) -> Contender:
    chosen: Contender = request.param
    return chosen


@pytest.fixture
async def env(
    rabbitmq: RabbitmqNode, contender: Contender, tmp_path: Path
) -> AsyncIterator[Environment]:
    assert contender.build is not None
    built, missing = await build_each({contender.name: contender.build}, tmp_path)
    if missing:
        pytest.skip(f"{contender.title}: {missing[contender.name]}")
    async with open_central_server() as server:
        yield Environment(rabbitmq, server, tmp_path, built)
    await AmqpClient(rabbitmq.url).delete(*QUEUES)


@pytest.mark.exhaustive
@pytest.mark.rabbitmq_version
@pytest.mark.parametrize(("messages", "size"), [(3_000, 300), (100, 300_000)])
async def test_all_is_routed_and_acknowledged(
    env: Environment, contender: Contender, messages: int, size: int
) -> None:
    with trio.fail_after(PATIENCE):
        run = await measure(env, contender, messages=messages, size=size)
    assert run.problems == []


@pytest.mark.exhaustive
async def test_only_what_routing_changes_is_changed(env: Environment, contender: Contender) -> None:
    client = AmqpClient(env.node.url)
    await client.delete(*QUEUES)
    await client.declare(*QUEUES)
    await client.publish(INPUT_QUEUE, *[BODY] * COUNT)
    with trio.fail_after(PATIENCE):
        async with env.running(contender):
            taken = await client.take(OUTPUT_QUEUE, COUNT)
    changed = ("receiver_id", "_client_id", "_broadcast", "_target_agent_id")
    kept = {name: value for name, value in decoded(BODY).items() if name not in changed}
    routed = [decoded(message.body) for message in taken]
    receivers = [message.pop("receiver_id") for message in routed]
    assert routed == [kept] * COUNT
    assert set(receivers) <= set(AGENTS) - {SENDER}
    assert len(set(receivers)) > 1
    properties = taken[0].header.properties
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")


def script(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    (directory / name).chmod(0o755)


async def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools, target = tmp_path / "tools", tmp_path / "target"
    tools.mkdir()
    target.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    builds = {"c": build_rabbitmq_c, "node": build_amqplib}

    assert await build_each(builds, target) == (
        {},
        {
            "c": "cc is missing: apt-get install gcc",
            "node": "node is missing: apt-get install nodejs",
        },
    )
    script(tools, "cc", "exit 1")
    script(tools, "node", "exit 0")
    script(tools, "npm", "echo 'npm error: no network' >&2\n exit 1")
    assert await build_each(builds, target) == (
        {},
        {
            "c": "rabbitmq-c's headers are missing: apt-get install libc6-dev librabbitmq-dev",
            "node": "npm could not install amqplib: npm error: no network",
        },
    )


def test_the_lock_pins_the_package_and_names_no_registry() -> None:
    text = LOCK.read_text(encoding="utf-8")
    package = json.loads(text)["packages"]["node_modules/amqplib"]
    assert package["integrity"].startswith("sha512-")
    assert "://" not in text


def compared(rabbitmq: str) -> Results:
    runs = [
        Run(name, messages=20_000, size=300, prefetch=1_000, seconds=seconds, cpu_seconds=cpu)
        for name, seconds, cpu in (("broker", 2, 0.44), ("c", 1.64, 0.1), ("aio-pika", 16, 12))
    ]
    return Results("full", {"rabbitmq": rabbitmq}, {"amqplib": "npm is missing"}, runs)


@pytest.mark.parametrize(("rabbitmq", "wanted"), [("3.10.8", ">= 0.85 x"), ("4.0.5", ">= 0.8 x")])
def test_targets_can_be_read_off_the_report(rabbitmq: str, wanted: str) -> None:
    results = compared(rabbitmq)
    judged = {target.name: target for target in targets(results)}

    assert judged["throughput beside aio-pika"].met
    assert judged["CPU per message"].met
    beside_c = judged["throughput beside c"]
    assert (beside_c.wanted, beside_c.figure) == (wanted, "0.82 x")
    assert beside_c.met == (rabbitmq == "4.0.5")
    assert "amqplib was not measured: npm is missing." in markdown({"4.0": results})
