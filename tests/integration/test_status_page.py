"""What people see of a real broker: its status page in a real browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from playwright.sync_api import Browser, Page, expect

from broker.core.messages import AgentStatus
from tests.integration.rig import Rig, bring_online, terminate, text
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.lab.running_broker import RunningBroker
from tests.status.page.chromium import open_chromium, open_page


class _Stage(NamedTuple):
    """A running broker with all around it, and the portal into the Trio loop where they live."""

    portal: BlockingPortal
    server: CentralServer
    rig: Rig
    broker: RunningBroker
    url: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@contextmanager
def _stage(node: RabbitmqNode, directory: Path) -> Iterator[_Stage]:
    rig = Rig(node, directory)
    # Playwright takes the thread of the test, so everything else runs in another one.
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_central_server()) as server,
        portal.wrap_async_context_manager(rig.broker(server.url, BROKER_HTTP_PORT="0")) as broker,
    ):
        [listening] = portal.call(rig.logged, "http_listening")
        yield _Stage(portal, server, rig, broker, listening["url"])


def _shows(page: Page, verdict: str) -> None:
    expect(page.locator("#verdict-word")).to_have_text(verdict)


def test_agents_and_rates_show(rabbitmq: RabbitmqNode, browser: Browser, tmp_path: Path) -> None:
    with _stage(rabbitmq, tmp_path) as stage, open_page(browser, stage.url) as page:
        _shows(page, "Routing, but no agent is online")

        stage.portal.call(bring_online, stage.server, 3)
        _shows(page, "Routing")
        agents = page.locator("#agents tr")
        expect(agents).to_have_count(3)
        expect(agents.nth(0)).to_contain_text("Agent 0 agent_0")
        expect(agents.nth(0)).to_contain_text("Online by server")
        expect(page.locator("#online")).to_have_text("3")

        gone = AgentStatus("agent_0", "Agent 0", is_online=False)
        stage.portal.call(stage.server.update, gone)
        expect(agents.nth(2)).to_contain_text("Agent 0 agent_0")
        expect(agents.nth(2)).to_contain_text("Offline")
        expect(page.locator("#online")).to_have_text("2")

        expect(page.locator("#received-rate")).to_have_text("0")
        bodies = [text(number, "agent_1") for number in range(300)]
        stage.portal.call(partial(stage.rig.publish, stage.rig.input, *bodies, b"no JSON"))
        expect(page.locator("#received-rate")).to_have_text(re.compile(r"[1-9]"))
        expect(page.locator("#received-total")).to_have_text("301")
        expect(agents.nth(1)).to_contain_text("300 100%")
        expect(page.locator("#latest li")).to_contain_text("invalid_json")
        expect(page.locator("#output")).to_contain_text("300 waiting")
        expect(page.locator("#output")).to_contain_text("Nobody reads")
        expect(page.locator("#verdict-word")).to_contain_text("nobody reads")
        _shows_dead_letter(stage, page)
        expect(page.locator("#rates-panel .line.in")).to_have_attribute("d", re.compile("H300"))
        expect(page.locator("#in-flight")).to_have_text("0")
        expect(page.locator("#received-rate")).to_have_text("0")

        page.locator("#search").fill("nt_1")
        expect(page.locator("#agents-note")).to_have_text("1\u20131 of 1 matching, 3 known")


def _shows_dead_letter(stage: _Stage, page: Page) -> None:
    """See that the command on the page names the letter that is in the queue."""
    expect(page.locator("#dead-letter")).to_contain_text("1 waiting")
    [letter] = stage.portal.call(stage.rig.take, stage.rig.dead_letter, 1)
    command = page.locator("#latest code")
    expect(command).to_have_text(
        f"broker dead-letters show --id={letter.header.properties.message_id}"
    )


@pytest.mark.exhaustive
def test_an_outage_of_rabbitmq_shows(
    rabbitmq: RabbitmqNode, browser: Browser, tmp_path: Path
) -> None:
    with _stage(rabbitmq, tmp_path) as stage, open_page(browser, stage.url) as page:
        stage.portal.call(bring_online, stage.server, 3)
        _shows(page, "Routing")

        connection = page.get_by_role("region", name="RabbitMQ")
        try:
            stage.portal.call(rabbitmq.stop)
            _shows(page, "Paused: no connection to RabbitMQ")
            expect(page.locator("#checks")).to_contain_text("Check that RabbitMQ runs")
            expect(connection).to_contain_text("Connecting")
        finally:
            stage.portal.call(rabbitmq.start)
        _shows(page, "Routing")
        expect(connection).to_contain_text("Connected")


@pytest.mark.exhaustive
def test_the_loss_of_the_server_and_the_end_of_the_broker_show(
    rabbitmq: RabbitmqNode, browser: Browser, tmp_path: Path
) -> None:
    with (
        _stage(rabbitmq, tmp_path) as stage,
        open_page(browser, stage.url, may_be_unreachable=True) as page,
    ):
        stage.portal.call(bring_online, stage.server, 3)
        _shows(page, "Routing")

        stage.server.accepting = False
        stage.portal.call(stage.server.drop_sessions)
        _shows(page, "Routing, but without the central server")

        # Somebody who looks at it does not hold up the stop.
        assert stage.portal.call(terminate, stage.broker, 12) == 0
        _shows(page, "The broker does not answer")
