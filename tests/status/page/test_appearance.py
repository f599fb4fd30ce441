"""How the page looks and reads: hostile names, narrow screens, keyboards, screen readers."""

import os
import unicodedata
from math import sin
from pathlib import Path
from typing import Literal

import pytest
from msgspec.structs import replace
from playwright.sync_api import Page, expect

from broker.status.model import AgentEntry, Check, Status
from broker.status.rates import Series
from broker.telemetry.one_line import one_line
from tests.status.page.acting import list_agents, rows_of, verdict_of
from tests.status.page.chromium import BEYOND_THE_EDGE, POOR_CONTRASTS
from tests.status.page.stand_in import StandIn
from tests.status.page.statuses import (
    BLOCKED,
    NOW,
    PAUSED,
    STALE,
    UNREAD,
    WITHOUT_RABBITMQ,
    WITHOUT_SERVER,
    WORKING,
    agent,
    judged,
)

pytestmark = pytest.mark.xdist_group("status page")  # one browser for all of them

MARKUP = "<img src=x onerror=\"document.title='pwned'\"><script>alert(1)</script>"
REVERSED = "\u202egnp.tnega"
SHOWN = {
    MARKUP: MARKUP,
    REVERSED: "U+202Egnp.tnega",
    "W" * 255: "W" * 255,
    "&lt;b&gt;": "&lt;b&gt;",
    "\u0000\u2066\u0645\u0631\u062d": "U+0000U+2066\u0645\u0631\u062d",
    "Z̵̢̛" * 80: "Z̵̢̛" * 80,
    "Ali\u200bce\u00a0\u3164": "AliU+200BceU+00A0U+3164",
    "\U0001f469\u200d\U0001f4bb\ufe0f Ada": "\U0001f469\u200d\U0001f4bb\ufe0f Ada",
}
"""What is in a name, and what of it shows."""


def history() -> Series:
    received = [400 + 60 * sin(second / 40) + 25 * sin(second * 1.3) for second in range(300)]
    published = [one - 3 - 2 * sin(second) for second, one in enumerate(received)]
    latencies = [
        None if 90 < second < 99 else 0.002 + 0.0004 * sin(second / 9) + 0.0003 * sin(second * 2.1)
        for second in range(300)
    ]
    return Series(1, NOW, received, published, latencies)


def crowd() -> list[AgentEntry]:
    names = dict(enumerate(SHOWN))
    return [
        replace(
            agent(number, is_online=number % 4 != 1, share=0.5 / (number + 3)),
            agent_name=names.get(number, f"Agent {number}"),
            capabilities=("ocr", "pdf") if number % 3 == 0 else (),
            source="queue" if number % 5 == 0 else "server",
        )
        for number in range(2_000)
    ]


def test_hostile_names_are_only_text(page: Page, stand_in: StandIn) -> None:
    lost = replace(WITHOUT_RABBITMQ.connections.rabbitmq, peer=MARKUP, error=REVERSED + MARKUP)
    noted = replace(
        WORKING.dead_letters.latest[0],
        queue=MARKUP,
        reason=MARKUP,
        sender=MARKUP,
        error=MARKUP,
        message_id=MARKUP,
    )
    stand_in.status = judged(
        replace(
            WITHOUT_RABBITMQ,
            checks=[Check("rabbitmq", "W" * 200 + MARKUP)],
            broker_id=MARKUP,
            broker_name=MARKUP,
            connections=replace(WORKING.connections, rabbitmq=lost),
            dead_letters=replace(WORKING.dead_letters, by_reason={MARKUP: 1}, latest=[noted]),
            messages=replace(WORKING.messages, outcomes={MARKUP: 1}),
            queues=[replace(queue, name=MARKUP) for queue in WORKING.queues],
        )
    )
    page.set_viewport_size({"width": 320, "height": 900})
    named = [
        replace(
            agent(number), agent_name=name, agent_id=f"{number}{name}", capabilities=(name, name)
        )
        for number, name in enumerate(SHOWN)
    ]
    list_agents(page, stand_in, *named)
    expect(verdict_of(page)).to_contain_text("Paused")
    names = page.locator("#agents .name").all()
    assert [name.text_content() for name in names] == [*SHOWN.values()]
    capabilities = page.locator("#agents .capabilities").all()
    assert [one.text_content() for one in capabilities] == [
        f"{one} · {one}" for one in SHOWN.values()
    ]
    for name in [*names, *page.locator("#agents .id").all(), *capabilities]:
        assert name.evaluate("(node) => getComputedStyle(node).unicodeBidi") == "isolate"
    assert "[U+202E]" in (names[1].get_attribute("title") or "")
    assert page.locator("img, bdi script").count() == 0
    expect(page.locator("#latest code")).to_have_text("broker dead-letters list")
    assert page.title().startswith("Paused")
    assert page.evaluate(BEYOND_THE_EDGE) == []


def test_what_a_terminal_would_escape_is_visible_on_the_page(page: Page) -> None:
    codes = (*range(0x3200), *range(0xE000, 0xE010), *range(0xF900, 0xFFFE), 0xE0001)
    characters = [chr(code) for code in codes]
    shown = page.evaluate(
        """async (characters) => {
          const { pieces } = await import("./page/text.js");
          return characters.map((one) => pieces(one).some((piece) => piece.isInvisible));
        }""",
        characters,
    )
    hidden = [
        f"U+{ord(one):04X}"
        for one, is_marked in zip(characters, shown, strict=True)
        if one_line(one) != one and not is_marked and not _is_new(one)
    ]
    assert hidden == []


def _is_new(character: str) -> bool:
    """Whether the browser may know a character that Python's tables lack."""
    return unicodedata.category(character) == "Cn"


def test_the_keyboard_reaches_everything(page: Page, stand_in: StandIn) -> None:
    list_agents(page, stand_in, *(agent(number) for number in range(30)[:25]))
    expect(verdict_of(page)).to_have_text("Routing")
    page.locator("body").press("Tab")
    reached = []
    for _ in range(40):
        focused = page.locator(":focus")
        if focused.count() == 0:
            break
        reached.append(
            focused.evaluate(
                "(node) => node.id || node.value || node.dataset.sort || node.textContent"
            )
        )
        outline = focused.evaluate(
            """(node) => getComputedStyle(node.matches(".choice input")
              ? node.parentElement : node).outlineStyle"""
        )
        assert outline == "solid", reached
        page.keyboard.press("Tab")
    assert reached == [
        *("minutes", "plot"),
        "What each reason means",
        *("Copy", "Copy", "Copy"),
        *("all", "search"),
        *("name", "state", "last_seen", "last_message", "routed"),
        *("previous", "next"),
        *("Runbook", "status as JSON", "metrics", "readiness", "liveness"),
    ]


def test_a_screen_reader_finds_its_way(page: Page, stand_in: StandIn) -> None:
    list_agents(page, stand_in, agent(1))
    for landmark in ("banner", "main", "contentinfo", "search", "navigation"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    for name in (
        *("State", "Pipeline", "Throughput and confirms", "Outcomes", "RabbitMQ"),
        *("Central server", "Dead letters"),
    ):
        expect(page.get_by_role("region", name=name, exact=True)).to_have_count(1)
        expect(page.get_by_role("heading", name=name, exact=True, level=2)).to_have_count(1)
    for name in ("Input", "Broker", "Output"):
        expect(page.get_by_role("heading", name=name, exact=True, level=3)).to_have_count(1)
    for table in page.get_by_role("table").all():
        assert table.locator("caption").count() == 1
        assert table.locator("th:not([scope])").count() == 0
    expect(page.get_by_role("rowheader", name="Agent 1")).to_have_count(1)
    expect(page.get_by_role("columnheader", name="Last seen")).to_have_count(1)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, a, [role=slider]")]
          .filter((node) => node.checkVisibility())
          .filter((node) => !(node.textContent.trim() || node.labels?.length
            || node.getAttribute("aria-label")))
          .map((node) => node.outerHTML)"""
    )
    assert nameless == []


def test_it_fits_narrow_screens(page: Page, stand_in: StandIn) -> None:
    plain = [agent(number, is_online=number < 3, share=0.1) for number in range(9)]
    list_agents(page, stand_in, *plain)
    _fits(page, stand_in)
    capable = (f"capability {number}" for number in range(9))
    list_agents(
        page,
        stand_in,
        *(
            replace(one, outstanding=1_234, answer_seconds=90_000.0, source="server")
            for one in plain
        ),
        replace(agent(10), capabilities=tuple(capable)),
    )
    _fits(page, stand_in)
    page.goto(f"{stand_in.url}runbook")
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _fits(page: Page, stand_in: StandIn) -> None:
    for status, verdict, width in (
        *((WORKING, "Routing", 320), (STALE, "P", 320), (STALE, "P", 390), (UNREAD, "R", 700)),
        (WORKING, "Routing", 1_000),
    ):
        page.set_viewport_size({"width": width, "height": 900})
        stand_in.status = status
        expect(verdict_of(page)).to_contain_text(verdict)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert page.evaluate(BEYOND_THE_EDGE) == [], width


def test_texts_stand_out_from_their_ground(page: Page, stand_in: StandIn) -> None:
    followed = replace(agent(1), outstanding=3, answer_seconds=1.5, capabilities=("ocr", "pdf"))
    reversed_one = replace(agent(2, is_online=False), agent_name=REVERSED)
    list_agents(page, stand_in, followed, reversed_one)
    for colours, ground in _GROUNDS.items():
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        for status, tone in ((WORKING, "good"), (STALE, "bad"), (WITHOUT_SERVER, "warn")):
            stand_in.status = status
            expect(page.locator("#verdict")).to_have_attribute("data-tone", tone)
            measured = page.evaluate(POOR_CONTRASTS)
            assert measured["poor"] == []
            assert measured["seen"] > 50


_GROUNDS: dict[Literal["light", "dark"], str] = {
    "light": "rgb(244, 245, 248)",
    "dark": "rgb(14, 17, 22)",
}


def test_two_thousand_agents_with_hostile_names_keep_the_page_small(
    page: Page, stand_in: StandIn
) -> None:
    list_agents(page, stand_in, agent(1))
    before = page.locator("*").count()
    stand_in.agents = crowd()
    page.get_by_role("radio", name="All").dispatch_event("change")
    expect(rows_of(page)).to_have_count(25)
    assert page.locator("*").count() < before + 25 * 20


@pytest.mark.exhaustive
def test_pictures_are_taken_of_five_states(page: Page, stand_in: StandIn, tmp_path: Path) -> None:
    """Take the pictures that show what a change does to the page.

    They are written to the directory that STATUS_PAGE_PICTURES names, if it does.
    """
    directory = Path(os.environ.get("STATUS_PAGE_PICTURES") or tmp_path)
    stand_in.history = history()
    stand_in.agents = crowd()
    pictures: tuple[tuple[str, Status, int, Literal["light", "dark"]], ...] = (
        ("routing", WORKING, 1_200, "light"),
        ("output-unread", UNREAD, 1_200, "light"),
        ("paused", PAUSED, 1_200, "dark"),
        ("rabbitmq-blocked", BLOCKED, 1_200, "light"),
        ("narrow-and-dark", WORKING, 390, "dark"),
    )
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    for name, status, width, colours in pictures:
        stand_in.status = status
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=colours)
        expect(verdict_of(page)).to_have_text(status.verdict.word)
        expect(page.locator("#read-in")).not_to_have_text("\u2013")
        expect(rows_of(page)).to_have_count(25)
        picture = page.screenshot(path=directory / f"{name}.png", full_page=True)
        assert len(picture) > 20_000, name
