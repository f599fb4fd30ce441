"""What people see: the page in a real Chromium, fed by a stand-in for the broker."""

from datetime import timedelta
from typing import Literal

from msgspec.structs import replace
from playwright.sync_api import Locator, Page, expect

from broker.status.model import AgentEntry, Check, Rates, Status
from tests.status.page.stand_in import StandIn
from tests.status.page.statuses import (
    BLOCKED,
    NOBODY_ONLINE,
    NOW,
    STALE,
    STOPPING,
    WITHOUT_RABBITMQ,
    WITHOUT_SERVER,
    WORKING,
    agent,
)

_MARKUP = "<img src=x onerror=\"document.title='pwned'\"><script>alert(1)</script>"
_REVERSED = "\u202egnp.tnega"
_HOSTILE = [_MARKUP, _REVERSED, "W" * 255, "&lt;b&gt;", "\u0000\u2066\u0645\u0631\u062d", "Z̵̢̛" * 80]

_POOR_CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    throw new Error("nothing is painted below the text");
  };
  const poor = [];
  let seen = 0;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    seen += 1;
    const shades = [getComputedStyle(element).color, ground(element)].map(luminance);
    const contrast = (Math.max(...shades) + 0.05) / (Math.min(...shades) + 0.05);
    if (contrast < 4.5) poor.push(`${texts.currentNode.data.trim()}: ${contrast.toFixed(2)}`);
  }
  return { poor, seen };
}"""

_BEYOND_THE_EDGE = """() => {
  const right = (node) => node.getBoundingClientRect().right;
  return [...document.querySelectorAll("body *:not(.unseen, .unseen *)")]
    .filter((node) => right(node) > right(node.parentElement.closest("section, body")))
    .map((node) => node.outerHTML);
}"""


def _verdict(page: Page) -> Locator:
    return page.locator("#verdict-word")


def _agents(page: Page) -> Locator:
    return page.locator("#agents tr")


def _with_rates(received: float) -> Status:
    rates = Rates(received, received / 2, [round(received)] * 60, [round(received / 2)] * 60)
    return replace(WORKING, rates=rates)


def _pass_time(page: Page, seconds: float) -> None:
    """Let the page believe that time has passed."""
    page.clock.fast_forward(round(seconds * 1_000))


def _list(page: Page, stand_in: StandIn, *agents: AgentEntry) -> None:
    """List agents, and let the page ask for them at once, as after any input to the search."""
    stand_in.agents = [*agents]
    page.locator("#search").dispatch_event("input")
    _pass_time(page, 0.3)
    expect(_agents(page)).to_have_count(len(agents))


def test_the_verdict_is_said_in_words_and_colour(page: Page, stand_in: StandIn) -> None:
    for status, verdict, tone in (
        (WORKING, "Routing", "good"),
        (WITHOUT_RABBITMQ, "Paused: no connection to RabbitMQ", "bad"),
        (BLOCKED, "Paused: RabbitMQ blocks publishing", "bad"),
        (WITHOUT_SERVER, "Routing, but without the central server", "warn"),
        (STALE, "Paused: no connection to the central server", "bad"),
        (NOBODY_ONLINE, "Routing, but no agent is online", "warn"),
        (STOPPING, "Stopping", "warn"),
    ):
        stand_in.status = status
        expect(_verdict(page)).to_have_text(verdict)
        expect(page.locator("#verdict")).to_have_attribute("data-tone", tone)
        expect(page).to_have_title(f"{verdict} · BrokerService")


def test_figures_are_shown(page: Page) -> None:
    for place, text in {
        "#received-rate": "413",
        "#in-flight": "17",
        "#online": "38",
        "#broker-id": "broker-7",
        "#program": "version 1.2.3 · up for 1 d 2 h",
        "#outcomes tr:first-child": "Routed to an agent 1,270,442",
        "#reasons tr:first-child": "invalid_json 31",
    }.items():
        expect(page.locator(place)).to_have_text(text)
    expect(page.locator("#reasons tr")).to_have_count(3)
    latest = page.locator("#latest tr")
    expect(latest).to_have_count(3)
    expect(latest.nth(1)).to_contain_text("too_large broker_input_queue")
    expect(latest.nth(1)).to_contain_text("3 min ago")
    rabbitmq = page.get_by_role("region", name="RabbitMQ")
    expect(rabbitmq).to_contain_text("Connected for 4 h 12 min")
    expect(rabbitmq).to_contain_text("Connection reset by peer")


def test_rates_follow_the_broker(page: Page, stand_in: StandIn) -> None:
    stand_in.status = _with_rates(0)
    line = page.locator(".spark .line").first
    expect(page.locator("#received-rate")).to_have_text("0")
    flat = line.get_attribute("d")

    stand_in.status = _with_rates(7.5)
    expect(page.locator("#received-rate")).to_have_text("7.5")
    expect(page.locator("#published-rate")).to_have_text("3.8")
    assert line.get_attribute("d") != flat

    stand_in.status = _with_rates(12_345)
    expect(page.locator("#received-rate")).to_have_text("12,345")
    expect(page.locator("#received-note")).to_have_text("peak 12,345 in the last minute")


def test_agents_come_and_go(page: Page, stand_in: StandIn) -> None:
    _list(page, stand_in, agent(1), agent(2, is_online=False))
    cells = _agents(page).nth(0).locator("th:visible, td:visible")
    expect(cells).to_have_text(["Agent 1 agent_1", "Online", "5 s ago", "5.0% (63,522)"])
    expect(_agents(page).nth(1)).to_contain_text("Offline")

    _list(page, stand_in, agent(2), agent(3), agent(1, is_online=False))
    for place, text in enumerate(("2 agent_2 Online", "3 agent_3 Online", "1 agent_1 Offline")):
        expect(_agents(page).nth(place)).to_contain_text(f"Agent {text}")
    expect(page.locator("#agents-note")).to_have_text("3 known")

    _list(page, stand_in)


def test_answers_have_columns_while_the_policy_follows_them(page: Page, stand_in: StandIn) -> None:
    headings = page.locator("#agents-table thead th:visible")
    cells = _agents(page).locator("td:nth-child(n + 5):visible")
    columns = ["Agent", "State", "Last seen", "Routed", "Outstanding", "Answers in"]
    _list(page, stand_in, agent(1), agent(2))
    expect(headings).to_have_text(columns[:4])
    expect(cells).to_have_count(0)

    _list(
        page,
        stand_in,
        replace(agent(1), outstanding=1_234, answer_seconds=1.25),
        replace(agent(2), outstanding=0, answer_seconds=75.0),
        replace(agent(3), outstanding=0),
    )
    expect(headings).to_have_text(columns)
    expect(cells).to_have_text(["1,234", "1.3 s", "0", "1 min", "0", "\u2013"])
    expect(page.get_by_role("columnheader", name="Outstanding")).to_have_count(1)

    _list(page, stand_in, agent(1))
    expect(headings).to_have_text(columns[:4])


def test_capabilities_are_shown_in_short_and_in_full(page: Page, stand_in: StandIn) -> None:
    many = tuple(f"c{number}" for number in range(64))
    _list(
        page,
        stand_in,
        replace(agent(1), capabilities=("ocr", "pdf")),
        replace(agent(2), capabilities=many),
        agent(3),
    )
    shown = page.locator("#agents .capabilities")
    expect(shown).to_have_text(["ocr · pdf", "c0 · c1 · c2 · c3 · c4 · c5 · +58", ""])
    expect(shown.nth(1)).to_have_attribute("title", ", ".join(many))

    _list(page, stand_in, replace(agent(2), capabilities=("ocr",)))
    expect(shown).to_have_text(["ocr"])


def test_times_are_by_the_clock_of_the_broker(page: Page, stand_in: StandIn) -> None:
    never, now = (replace(agent(1), last_seen=at) for at in (None, NOW + timedelta(seconds=2)))
    _list(page, stand_in, never)
    expect(_agents(page).locator("time")).to_have_text("\u2013")
    _list(page, stand_in, now, agent(2))
    expect(_agents(page).nth(0)).to_contain_text("just now")
    expect(_agents(page).nth(1)).to_contain_text("10 s ago")


def test_an_outage_of_rabbitmq_and_the_recovery_show(page: Page, stand_in: StandIn) -> None:
    rabbitmq = page.get_by_role("region", name="RabbitMQ")
    stand_in.status = WITHOUT_RABBITMQ
    expect(rabbitmq).to_contain_text("Connecting for 41 s")
    expect(rabbitmq).to_contain_text("Connection refused")
    check = page.locator("#checks li", has_text="Check that RabbitMQ runs")
    expect(check).to_contain_text("cannot connect: [Errno 111] Connection refused")

    stand_in.status = WORKING
    expect(rabbitmq).to_contain_text("Connected")
    expect(page.locator("#checks")).not_to_contain_text("Check that")


def test_each_failing_check_says_what_to_do(page: Page, stand_in: StandIn) -> None:
    for status, advice in (
        (BLOCKED, "Free memory or disk space"),
        (WITHOUT_SERVER, "Check that the central server runs"),
        (STALE, "as soon as the registry is fresh"),
        (STALE, "It recovers with the connection to the central server"),
        (WITHOUT_RABBITMQ, "They recover with the connection to RabbitMQ"),
        (STOPPING, "check what manages the process"),
    ):
        stand_in.status = status
        expect(page.locator("#checks")).to_contain_text(advice)


def test_a_broker_that_is_gone_shows_and_so_does_its_return(page: Page, stand_in: StandIn) -> None:
    expect(_verdict(page)).to_have_text("Routing")

    stand_in.stop()
    _pass_time(page, 5)
    expect(_verdict(page)).to_have_text("The broker does not answer")
    expect(page.locator("#lost")).to_contain_text("Check that its process runs")
    expect(page.locator("#silence")).to_contain_text("The data below is from")
    expect(page.locator("#checks")).to_be_hidden()

    stand_in.start()
    _pass_time(page, 1)
    expect(_verdict(page)).to_have_text("Routing")
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#checks")).to_be_visible()


def test_a_frozen_broker_shows_though_the_stream_stays_open(page: Page, stand_in: StandIn) -> None:
    expect(_verdict(page)).to_have_text("Routing")

    stand_in.is_frozen = True
    _pass_time(page, 5)
    expect(_verdict(page)).to_have_text("The broker does not answer")

    stand_in.is_frozen = False
    expect(_verdict(page)).to_have_text("Routing")


def test_a_broker_without_a_stream_is_asked(page: Page, stand_in: StandIn) -> None:
    stand_in.has_stream = False
    page.reload()
    stand_in.streamed.clear()
    for status, verdict in ((WORKING, "Routing"), (STALE, "Paused")):
        stand_in.status = status
        _pass_time(page, 3)
        expect(_verdict(page)).to_contain_text(verdict)

    stand_in.has_stream = True
    _pass_time(page, 1)
    assert stand_in.streamed.wait(timeout=30), "it was not asked for again"


def test_hostile_names_are_only_text(page: Page, stand_in: StandIn) -> None:
    lost = replace(WITHOUT_RABBITMQ.connections.rabbitmq, peer=_MARKUP, error=_REVERSED + _MARKUP)
    noted = replace(WORKING.dead_letters.latest[0], queue=_MARKUP, reason=_MARKUP)
    stand_in.status = replace(
        WITHOUT_RABBITMQ,
        checks=[Check("rabbitmq", "W" * 200 + _MARKUP)],
        broker_id=_MARKUP,
        broker_name=_MARKUP,
        connections=replace(WORKING.connections, rabbitmq=lost),
        dead_letters=replace(WORKING.dead_letters, by_reason={_MARKUP: 1}, latest=[noted]),
        messages=replace(WORKING.messages, outcomes={_MARKUP: 1}),
    )
    page.set_viewport_size({"width": 320, "height": 900})
    named = [
        replace(
            agent(number), agent_name=name, agent_id=f"{number}{name}", capabilities=(name, name)
        )
        for number, name in enumerate(_HOSTILE)
    ]
    _list(page, stand_in, *named)
    expect(_verdict(page)).to_contain_text("Paused")
    names = page.locator("#agents .name").all()
    assert [name.text_content() for name in names] == _HOSTILE
    capabilities = page.locator("#agents .capabilities").all()
    assert [one.text_content() for one in capabilities] == [f"{one} · {one}" for one in _HOSTILE]
    for name in [*names, *page.locator("#agents .id").all(), *capabilities]:
        assert name.evaluate("(node) => getComputedStyle(node).unicodeBidi") == "isolate"
    assert page.locator("img, bdi script").count() == 0
    assert page.title().startswith("Paused")
    assert page.evaluate(_BEYOND_THE_EDGE) == []


def test_the_policy_forbids_what_the_page_does_not_need(page: Page, complaints: list[str]) -> None:
    for attempt, complaint in (
        ("try { document.body.innerHTML = '<b>' } catch {}", "TrustedHTML"),
        ("document.body.append(Object.assign(new Image(), { src: 'x' }))", "img-src"),
        ("document.body.setAttribute('style', 'color: red')", "style-src"),
        ("fetch('http://127.0.0.2/').catch(() => {})", "connect-src"),
    ):
        with page.expect_console_message() as said:
            page.evaluate(f"() => {{ {attempt} }}")
        assert complaint in said.value.text
    complaints.clear()


def test_the_search_is_sent_and_kept(page: Page, stand_in: StandIn) -> None:
    stand_in.agents = [agent(number) for number in range(1_234)]
    page.reload()
    note = page.locator("#agents-note")
    expect(note).to_have_text("Showing 200 of 1,234")
    expect(_agents(page)).to_have_count(200)

    search = page.get_by_role("searchbox", name="Search")
    search.press_sequentially("agent_12")
    expect(note).to_have_text("Showing 45 of 45 matching")
    expect(_agents(page).first).to_contain_text("agent_12")

    stand_in.agents = stand_in.agents[:13]
    _pass_time(page, 3)
    expect(note).to_have_text("Showing 1 of 1 matching")
    expect(search).to_have_value("agent_12")
    expect(search).to_be_focused()
    assert stand_in.searches.count("agent_1") == 0, "each key was sent"

    search.press("Enter")
    search.fill("nobody & <nothing>")
    expect(note).to_have_text("None of 13 matches")
    assert stand_in.searches[-1] == "nobody & <nothing>"


def test_nodes_stay_where_they_are(page: Page, stand_in: StandIn) -> None:
    some = [agent(number) for number in range(20)]
    others = [agent(number) for number in range(10, 60)]
    _list(page, stand_in, *some)
    elements = page.locator("*").count()
    kept = page.locator("#agents tr", has_text="agent_15").element_handle()
    line = page.locator("#outcomes tr").first.element_handle()

    for _ in range(2):
        stand_in.status = WITHOUT_RABBITMQ
        _list(page, stand_in, *others)
        expect(_verdict(page)).to_contain_text("Paused")
        stand_in.status = WORKING
        _list(page, stand_in, *some)
        expect(_verdict(page)).to_have_text("Routing")

    assert page.locator("*").count() == elements
    assert kept.evaluate("(node) => node.isConnected")
    assert line.evaluate("(node) => node.isConnected")


def test_only_changes_of_the_verdict_are_read_out(page: Page, stand_in: StandIn) -> None:
    live = page.locator("[aria-live=polite]")
    expect(live).to_contain_text("Routing")
    assert page.locator("[aria-live], [role=status], [role=alert], output").count() == 1
    live.evaluate(
        """(node) => {
          window.changes = 0;
          new MutationObserver(() => { window.changes += 1; })
            .observe(node, { childList: true, characterData: true, subtree: true });
        }"""
    )

    for rate in (20, 30, 40):
        stand_in.status = _with_rates(rate)
        expect(page.locator("#received-rate")).to_have_text(str(rate))
    assert page.evaluate("window.changes") == 0

    stand_in.status = STALE
    expect(live).to_contain_text("Paused")
    assert page.evaluate("window.changes") > 0


def test_the_keyboard_reaches_the_search(page: Page) -> None:
    expect(_verdict(page)).to_have_text("Routing")
    page.keyboard.press("Tab")
    search = page.locator("#search")
    expect(search).to_be_focused()
    assert search.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="status as JSON")).to_be_focused()


def test_a_screen_reader_finds_its_way(page: Page, stand_in: StandIn) -> None:
    _list(page, stand_in, agent(1))
    for landmark in ("banner", "main", "contentinfo", "search"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    for name in ("Received", "In flight", "Agents online", "RabbitMQ", "Dead letters"):
        expect(page.get_by_role("region", name=name, exact=True)).to_have_count(1)
        expect(page.get_by_role("heading", name=name, exact=True)).to_have_count(1)
    for table in page.get_by_role("table").all():
        assert table.locator("caption").count() == 1
        assert table.locator("th:not([scope])").count() == 0
    expect(page.get_by_role("rowheader", name="Agent 1")).to_have_count(1)
    expect(page.get_by_role("columnheader", name="Last seen")).to_have_count(1)


def test_it_fits_narrow_screens(page: Page, stand_in: StandIn) -> None:
    plain = [agent(number, is_online=number < 3, share=0.1) for number in range(9)]
    _list(page, stand_in, *plain)
    _fits(page, stand_in)
    capable = (f"capability {number}" for number in range(9))
    _list(
        page,
        stand_in,
        *(replace(one, outstanding=1_234, answer_seconds=90_000.0) for one in plain),
        replace(agent(10), capabilities=tuple(capable)),
    )
    _fits(page, stand_in)


def _fits(page: Page, stand_in: StandIn) -> None:
    for status, verdict, width in ((WORKING, "Routing", 320), (STALE, "P", 320), (STALE, "P", 700)):
        page.set_viewport_size({"width": width, "height": 900})
        stand_in.status = status
        expect(_verdict(page)).to_contain_text(verdict)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(_BEYOND_THE_EDGE) == []


def test_texts_stand_out_from_their_ground(page: Page, stand_in: StandIn) -> None:
    followed = replace(agent(1), outstanding=3, answer_seconds=1.5, capabilities=("ocr", "pdf"))
    _list(page, stand_in, followed, agent(2, is_online=False))
    grounds: dict[Literal["light", "dark"], str] = {
        "light": "rgb(245, 246, 248)",
        "dark": "rgb(14, 17, 22)",
    }
    for colours, ground in grounds.items():
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        for status, tone in ((WORKING, "good"), (STALE, "bad"), (WITHOUT_SERVER, "warn")):
            stand_in.status = status
            expect(page.locator("#verdict")).to_have_attribute("data-tone", tone)
            measured = page.evaluate(_POOR_CONTRASTS)
            assert measured["poor"] == []
            assert measured["seen"] > 50
