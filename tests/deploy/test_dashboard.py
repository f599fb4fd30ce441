"""The dashboard and the alerts, with what a real Prometheus saw of two brokers in an outage."""

import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from broker.sandbox import central_server
from broker.sandbox.central_server import Message
from tests.deploy.prometheus import PROMETHEUS, Prometheus, Series, open_prometheus
from tests.deploy.test_monitoring import ALERTS, DASHBOARD
from tests.integration.rig import Rig, bring_online, terminate, text
from tests.lab import amqp_connection
from tests.lab.central_server import CentralServer, by_contract, open_central_server
from tests.lab.limits import alarmed
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.lab.running_broker import RunningBroker
from tests.sandbox.programs import free_port

SETTINGS = {
    "BROKER_ROUTING_POLICY": "least_outstanding",
    "BROKER_HOLD": "10",
    "BROKER_PREFETCH": "5",
    "BROKER_REGISTRY_TTL": "1",
}
MESSAGES = 4 * int(SETTINGS["BROKER_PREFETCH"])
VARIABLES = {"$instance": ".+", "$job": ".+", "$__rate_interval": "4s"}
"""What Grafana puts in for everything, and for a scrape each second: four of them."""
CAUSED = {
    *("BrokerDown", "BrokerNotReady", "BrokerRabbitmqDisconnected", "BrokerRabbitmqBlocked"),
    *("BrokerServerDisconnected", "BrokerRegistryStale", "BrokerDeadLetters"),
}
"""The alerts that fire when what happens here lasts."""
STATES = ("Ready", "RabbitMQ", "RabbitMQ alarm", "Central server")
NEVER = re.compile("policy_errors|redelivered|renewed|statuses_skipped|websocket_too_big")
"""What does not happen here."""

_numbers = count(1)


@pytest.mark.exhaustive
@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (Debian: prometheus)")
async def test_each_panel_shows_an_outage(rabbitmq: RabbitmqNode, tmp_path: Path) -> None:
    rig = Rig(rabbitmq, tmp_path)
    start = time.time()
    async with (
        open_central_server(answer=nothing_without_agents) as server,
        watched(rig, server) as (broker, prometheus),
    ):
        await have_an_outage(rig, server, prometheus)
        assert await terminate(broker, within=60) == 0
        await prometheus.until("up == 0")

        end = time.time()
        shown = [
            (title, expression, await prometheus.history(expression, start, end))
            for title, expression in queries()
        ]
        print(table(shown))  # noqa: T201 - `-s` shows it
        assert [expression for _, expression, series in shown if not series] == []
        for title, expression, series in shown:
            seen = {value for one in series for value in one.values}
            if title in STATES:
                assert seen == {0, 1}, expression
            assert max(seen) > 0 or NEVER.search(expression), expression

        for variable, number in (("job", 1), ("instance", 2)):
            path = f"label/{variable}/values"
            assert len(await prometheus.ask(path, **{"match[]": "broker_ready"})) == number

        # A rule may be well written, and fail with the labels that series really have.
        [group] = (await prometheus.ask("rules"))["groups"]
        assert {rule["name"]: rule["health"] for rule in group["rules"]} == dict.fromkeys(
            ALERTS, "ok"
        )
        caused = [
            name
            for name, rule in ALERTS.items()
            if await prometheus.history(rule["expr"], start, end)
        ]
        assert set(caused) >= CAUSED


@asynccontextmanager
async def watched(
    rig: Rig, server: CentralServer
) -> AsyncIterator[tuple[RunningBroker, Prometheus]]:
    """Run two brokers, of which one is yielded, and a Prometheus that scrapes them."""
    ports = free_port(), free_port()
    server.accepting = False
    async with (
        rig.broker(server.url, BROKER_HTTP_PORT=str(ports[0]), **SETTINGS) as one,
        rig.broker(server.url, BROKER_HTTP_PORT=str(ports[1]), **SETTINGS),
        open_prometheus(rig.directory, ports) as prometheus,
    ):
        yield one, prometheus


async def have_an_outage(rig: Rig, server: CentralServer, prometheus: Prometheus) -> None:
    """Let all go wrong that can, one after the other, and end well."""
    await prometheus.until('count(broker_connected{transport="websocket"} == 0) == 2')
    server.accepting = True
    await prometheus.until('count(broker_connected{transport="websocket"} == 1) == 2')
    bring_online(server)
    await prometheus.until("count(broker_ready == 1) == 2")
    await converse(rig, prometheus)

    server.send("rubbish")
    nobody = text(0, "agent_0", required_capabilities=["magic"])
    await rig.publish(rig.input, b"rubbish", nobody)
    await prometheus.until("broker_held_messages == 1")
    await prometheus.until('sum(broker_message_outcomes_total{outcome="no_capable_agent"}) == 1')

    server.accepting = False
    server.drop_sessions()
    await prometheus.until('broker_queue_consumers{role="input"} == 0')
    # RabbitMQ blocks who publishes: both must have something to do, so neither may take it all.
    await rig.publish(rig.input, *(text(next(_numbers), "agent_0") for _ in range(MESSAGES)))
    async with alarmed(rig.node):
        server.accepting = True
        await prometheus.until("count(broker_amqp_blocked == 1) == 2")
    await prometheus.until("count(broker_ready == 1) == 2")

    await rig.node.kill()
    try:
        await prometheus.until('count(broker_connected{transport="amqp"} == 0) == 2')
    finally:
        await rig.node.start()
    await prometheus.until("count(broker_ready == 1) == 2")
    await converse(rig, prometheus)


async def converse(rig: Rig, prometheus: Prometheus) -> None:
    """Let agents ask and answer until Prometheus has seen how long that takes."""
    await rig.take_all(rig.output)
    before = await prometheus.value("sum(broker_agent_answer_seconds_count)") or 0
    for _ in range(3):
        questions = [text(next(_numbers), "agent_0") for _ in range(MESSAGES)]
        await rig.publish(rig.input, *questions)
        answers = [answer(message) for message in await rig.take(rig.output, MESSAGES)]
        await rig.publish(rig.input, *answers)
        await rig.take(rig.output, MESSAGES)
        before += 1
        await prometheus.until(f"sum(broker_agent_answer_seconds_count) >= {before}")


def answer(message: amqp_connection.Message) -> bytes:
    question = json.loads(message.body)
    return text(
        next(_numbers),
        question["receiver_id"],
        message_type="REPLY",
        in_reply_to_message_id=question["message_id"],
    )


def nothing_without_agents(
    server: central_server.CentralServer, message: Message
) -> Iterator[Message]:
    """Answer as the contract has it, but with a status update only if there are agents."""
    for said in by_contract(server, message):
        if server.agents or said["message_type"] != "AGENT_STATUS_UPDATE":
            yield said


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            yield panel["title"], expression


def table(shown: list[tuple[str, str, list[Series]]]) -> str:
    """Return what the panels show: how many series, and their least and greatest values."""
    lines = [f"{'panel':38}{'series':>7}{'least':>12}{'greatest':>12}"]
    for title, _, series in shown:
        values = [value for one in series for value in one.values]
        figures = f"{min(values):12.4g}{max(values):12.4g}" if values else "     nothing"
        lines.append(f"{title:38}{len(series):7}{figures}")
    return "\n".join(lines)
