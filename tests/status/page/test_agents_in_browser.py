"""The agents on the page, in a real Chromium, fed by a stand-in for the broker."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from playwright.sync_api import Page, expect

from tests.status.page.acting import list_agents, pass_time, rows_of, stopped_time
from tests.status.page.stand_in import StandIn
from tests.status.page.statuses import NOW, agent

pytestmark = pytest.mark.xdist_group("status page")  # one browser for all of them

ON_A_PAGE = 25


def test_agents_come_and_go(page: Page, stand_in: StandIn) -> None:
    first = replace(agent(1), source="server", last_message_at=NOW - timedelta(minutes=2))
    list_agents(page, stand_in, first, replace(agent(2, is_online=False), source="queue"))
    cells = rows_of(page).nth(0).locator("th:visible, td:visible")
    expect(cells).to_have_text(
        ["Agent 1 agent_1", "Online by server", "5 s ago", "2 min ago", "63,522 5%"]
    )
    expect(rows_of(page).nth(1)).to_contain_text("Offline by queue")

    list_agents(page, stand_in, agent(2), agent(3), agent(1, is_online=False))
    for place, text in enumerate(("2 agent_2 Online", "3 agent_3 Online", "1 agent_1 Offline")):
        expect(rows_of(page).nth(place)).to_contain_text(f"Agent {text}")
    expect(page.locator("#agents-note")).to_have_text("1\u20133 of 3 known")

    list_agents(page, stand_in)
    expect(page.locator("#agents-note")).to_have_text("No agent is known yet")


def test_answers_have_columns_while_the_policy_follows_them(page: Page, stand_in: StandIn) -> None:
    headings = page.locator("#agents-table thead th:visible")
    cells = rows_of(page).locator("td:nth-child(n + 6):visible")
    columns = ["Agent", "State", "Last seen", "Last message", "Routed", "Outstanding", "Answers in"]
    list_agents(page, stand_in, agent(1), agent(2))
    expect(headings).to_have_text(columns[:5])
    expect(cells).to_have_count(0)

    list_agents(
        page,
        stand_in,
        replace(agent(1), outstanding=1_234, answer_seconds=1.25),
        replace(agent(2), outstanding=0, answer_seconds=75.0),
        replace(agent(3), outstanding=0),
    )
    expect(headings).to_have_text(columns)
    expect(cells).to_have_text(["1,234", "1.3 s", "0", "1 min", "0", "\u2013"])

    list_agents(page, stand_in, agent(1))
    expect(headings).to_have_text(columns[:5])


def test_capabilities_are_shown_in_short_and_in_full(page: Page, stand_in: StandIn) -> None:
    many = tuple(f"c{number}" for number in range(64))
    list_agents(
        page,
        stand_in,
        replace(agent(1), capabilities=("ocr", "pdf")),
        replace(agent(2), capabilities=many),
        agent(3),
    )
    shown = page.locator("#agents .capabilities")
    expect(shown).to_have_text(["ocr · pdf", "c0 · c1 · c2 · c3 · c4 · c5 · +58", ""])
    expect(shown.nth(1)).to_have_attribute("title", ", ".join(many))

    list_agents(page, stand_in, replace(agent(2), capabilities=("ocr",)))
    expect(shown).to_have_text(["ocr"])


def test_times_are_by_the_clock_of_the_broker(page: Page, stand_in: StandIn) -> None:
    never, now = (replace(agent(1), last_seen=at) for at in (None, NOW + timedelta(seconds=2)))
    list_agents(page, stand_in, never)
    expect(rows_of(page).locator("time").first).to_have_text("\u2013")
    list_agents(page, stand_in, now, agent(2))
    expect(rows_of(page).nth(0)).to_contain_text("just now")
    expect(rows_of(page).nth(1)).to_contain_text("10 s ago")


def test_the_search_is_sent_and_kept(page: Page, stand_in: StandIn) -> None:
    stand_in.agents = [agent(number) for number in range(1_234)]
    page.reload()
    note = page.locator("#agents-note")
    expect(note).to_have_text("1\u201325 of 1,234 known")
    expect(rows_of(page)).to_have_count(ON_A_PAGE)

    search = page.get_by_role("searchbox", name="Search")
    with stopped_time(page):
        search.press_sequentially("agent_12")
    expect(note).to_have_text("1\u201325 of 45 matching, 1,234 known")
    expect(rows_of(page).first).to_contain_text("agent_12")

    stand_in.agents = stand_in.agents[:13]
    pass_time(page, 3)
    expect(note).to_have_text("1\u20131 of 1 matching, 13 known")
    expect(search).to_have_value("agent_12")
    expect(search).to_be_focused()
    assert "agent_1" not in [query["search"] for query in stand_in.queries], "each key was sent"

    search.press("Enter")
    search.fill("nobody & <nothing>")
    expect(note).to_have_text("None of 13 known matches")
    assert stand_in.queries[-1]["search"] == "nobody & <nothing>"


def test_only_those_online_or_offline_are_listed(page: Page, stand_in: StandIn) -> None:
    list_agents(page, stand_in, agent(1), agent(2, is_online=False), agent(3, is_online=False))
    shown = page.get_by_role("group", name="Agents shown")
    for name, ids in (("Offline", ["agent_2", "agent_3"]), ("Online", ["agent_1"])):
        shown.get_by_role("radio", name=name, exact=True).check()
        expect(page.locator("#agents .id")).to_have_text(ids)
        expect(page.locator("#agents-note")).to_contain_text(f"of {len(ids)} matching, 3 known")
    shown.get_by_role("radio", name="All").check()
    expect(rows_of(page)).to_have_count(3)


def test_each_column_can_be_sorted_by(page: Page, stand_in: StandIn) -> None:
    list_agents(page, stand_in, replace(agent(1), outstanding=1))
    headings = page.locator("#agents-table thead th")
    for name, sort, order, reversed_order in (
        ("Agent", "name", "ascending", "descending"),
        ("State", "state", "descending", "ascending"),
        ("Last seen", "last_seen", "descending", "ascending"),
        ("Last message", "last_message", "descending", "ascending"),
        ("Routed", "routed", "descending", "ascending"),
        ("Outstanding", "outstanding", "descending", "ascending"),
        ("Answers in", "answer_seconds", "descending", "ascending"),
    ):
        heading = headings.filter(has=page.get_by_role("button", name=name))
        for place, expected in enumerate((order, reversed_order)):
            with page.expect_response("**/agents?*"):
                heading.get_by_role("button").click()
            expect(heading).to_have_attribute("aria-sort", expected)
            expect(page.locator("[aria-sort]")).to_have_count(1)
            query = stand_in.queries[-1]
            assert (query["sort"], "reverse" in query) == (sort, place == 1)


@pytest.mark.exhaustive
def test_thousands_are_listed_by_pages(page: Page, stand_in: StandIn) -> None:
    stand_in.agents = [agent(number) for number in range(2_000)]
    page.reload()
    note = page.locator("#agents-note")
    previous = page.get_by_role("button", name="Previous")
    following = page.get_by_role("button", name="Next")
    expect(note).to_have_text("1\u201325 of 2,000 known")
    expect(previous).to_be_disabled()

    following.click()
    expect(note).to_have_text("26\u201350 of 2,000 known")
    expect(page.locator("#agents .id").first).to_have_text("agent_25")
    expect(following).to_be_focused()
    previous.press("Enter")
    expect(note).to_have_text("1\u201325 of 2,000 known")
    previous.press("Enter")  # it is disabled, and keeps the focus

    following.click()
    stand_in.agents = stand_in.agents[:7]
    pass_time(page, 3)
    expect(note).to_have_text("1\u20137 of 7 known")
    expect(following).to_be_disabled()
