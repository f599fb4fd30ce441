"""What people see of a broker: the page in a real Chromium, fed by a stand-in."""

from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace
from playwright.sync_api import ConsoleMessage, Page, expect

from broker.status.model import Check, HeldStatus, QueueStatus, Rates, Status
from broker.status.rates import Series
from tests.status.page.acting import list_agents, pass_time, rows_of, stopped_time, verdict_of
from tests.status.page.stand_in import StandIn
from tests.status.page.statuses import (
    BLOCKED,
    NOBODY_ONLINE,
    NOW,
    STALE,
    STOPPING,
    UNREAD,
    WITHOUT_RABBITMQ,
    WITHOUT_SERVER,
    WORKING,
    agent,
    queues,
)

pytestmark = pytest.mark.xdist_group("status page")  # one browser for all of them


def with_rates(received: float) -> Status:
    rates = Rates(received, received / 2, [round(received)] * 60, [round(received / 2)] * 60)
    return replace(WORKING, rates=rates)


def test_the_verdict_is_said_in_words_and_colour(page: Page, stand_in: StandIn) -> None:
    for status, word, tone in (
        (WORKING, "Routing", "good"),
        (WITHOUT_RABBITMQ, "Paused: no connection to RabbitMQ", "bad"),
        (BLOCKED, "Paused: RabbitMQ blocks publishing", "bad"),
        (WITHOUT_SERVER, "Routing, but without the central server", "warn"),
        (UNREAD, "Routing, but nobody reads broker_output_queue: 20,164 waiting", "warn"),
        (STALE, "Paused: no connection to the central server", "bad"),
        (NOBODY_ONLINE, "Routing, but no agent is online", "warn"),
        (STOPPING, "Stopping", "warn"),
    ):
        stand_in.status = status
        expect(verdict_of(page)).to_have_text(word)
        expect(page.locator("#verdict-why")).to_have_text(status.verdict.why)
        expect(page.locator("#verdict")).to_have_attribute("data-tone", tone)
        expect(page).to_have_title(f"{word} · BrokerService")


def test_figures_are_shown(page: Page) -> None:
    for place, text in {
        "#in-flight": "17",
        "#oldest": "oldest taken 12 ms ago",
        "#received-rate": "413",
        "#published-rate": "412",
        "#online": "38",
        "#broker-id": "broker-7",
        "#program": "version 1.2.3 · up for 1 d 2 h",
        "#received-total": "1,284,112",
        "#redelivered-total": "31",
    }.items():
        expect(page.locator(place)).to_have_text(text)
    rabbitmq = page.get_by_role("region", name="RabbitMQ")
    expect(rabbitmq).to_contain_text("Connected for 4 h 12 min")
    expect(rabbitmq).to_contain_text("lost 2 times, 3 failed tries")
    expect(rabbitmq).to_contain_text("Last error, over")
    expect(rabbitmq).to_contain_text("connection reset by peer 4 h ago")
    server = page.get_by_role("region", name="Central server")
    expect(server).to_contain_text("never lost")
    expect(server.locator("[data-part=failure]")).to_be_hidden()


def test_the_pipeline_shows_where_messages_are(page: Page, stand_in: StandIn) -> None:
    stages = page.get_by_role("region", name="Pipeline").locator(".stage")
    several = [
        QueueStatus("input", "in-0", 1_000, 1, 0.5, "ok"),
        QueueStatus("input", "in-1", 234, 2, None, "growing"),
        *queues()[1:],
    ]
    slow = queues(state="growing", unread=777, growth=-20.0)
    for status, place, tone, texts in (
        (WORKING, 0, "good", ("Flowing", "12 waiting", "1 consumer", "broker_input_queue")),
        (WORKING, 1, "good", ("Routing", "17 in flight")),
        (WORKING, 2, "good", ("Flowing", "3 waiting", "2 consumers")),
        (WORKING, 3, "warn", ("Inspect", "45 waiting", "broker_dead_letter_queue")),
        (UNREAD, 2, "warn", ("Nobody reads", "20,164", "0 consumers", "growing by 412/s")),
        (UNREAD, 3, "good", ("Empty", "0 waiting")),
        (STALE, 0, "warn", ("Waiting", "6,188 waiting")),
        (STALE, 1, "bad", ("Paused", "0 in flight", "0/s in, 0/s out")),
        (WITHOUT_RABBITMQ, 2, "none", ("Not known", "\u2013 waiting")),
        (STOPPING, 1, "warn", ("Stopping",)),
        (BLOCKED, 1, "bad", ("Blocked",)),
        (BLOCKED, 0, "warn", ("Waiting", "12 waiting")),
        (
            replace(WORKING, queues=several),
            0,
            "warn",
            ("Growing", "1,234 waiting", "3 consumers", "in-0 1,000", "in-1 234"),
        ),
        (replace(WORKING, queues=slow), 2, "warn", ("Growing", "shrinking by 20/s")),
        (
            replace(WORKING, queues=[QueueStatus("input", "q", 9, 0, 0.0, "unread")]),
            0,
            "bad",
            ("Not consumed",),
        ),
    ):
        stand_in.status = status
        for text in texts:
            expect(stages.nth(place)).to_contain_text(text)
        expect(stages.nth(place)).to_have_attribute("data-tone", tone)


def test_what_is_held_shows_while_messages_are_held(page: Page, stand_in: StandIn) -> None:
    held = page.locator("#held")
    expect(page.locator("#in-flight")).to_have_text("17")
    expect(held).to_be_hidden()
    for status, text in (
        (HeldStatus(30.0, 0), "Held for a receiver: 0"),
        (HeldStatus(30.0, 1_234, NOW + timedelta(seconds=12)), "1,234 first due in 12 s"),
        (HeldStatus(30.0, 2, NOW - timedelta(seconds=5)), "2 first due in 0 s"),
        (HeldStatus(30.0), "Held for a receiver: not known"),
        (HeldStatus(0.0, 3), "Held for a receiver: 3"),
    ):
        stand_in.status = replace(WORKING, held=status)
        expect(held).to_contain_text(text)
    stand_in.status = WORKING
    expect(held).to_be_hidden()


def test_rates_follow_the_broker(page: Page, stand_in: StandIn) -> None:
    for received, shown in ((0, ("0", "0")), (7.5, ("7.5", "3.8")), (12_345, ("12,345", "6,173"))):
        stand_in.status = with_rates(received)
        expect(page.locator("#received-rate")).to_have_text(shown[0])
        expect(page.locator("#published-rate")).to_have_text(shown[1])


def test_the_chart_shows_the_history_of_the_broker(page: Page, stand_in: StandIn) -> None:
    line = page.locator("#rates-panel .line.in")
    expect(page.locator("#read-at")).to_have_text("no data yet")
    assert not line.get_attribute("d")

    latencies = [0.0021, None, 0.25]
    stand_in.history = Series(1, NOW, [10.0, 20.0, 410.0], [9.0, 19.0, 409.0], latencies)
    pass_time(page, 3)
    expect(page.locator("#read-in")).to_have_text("410/s")
    expect(page.locator("#read-out")).to_have_text("409/s")
    expect(page.locator("#read-confirm")).to_have_text("250 ms")
    expect(page.locator("#rates-panel .top")).to_have_text("600/s")
    expect(page.locator("#confirm-panel .top")).to_have_text("400 ms")
    assert (line.get_attribute("d") or "").count("H") == 3
    gap = page.locator("#confirm-panel .line").get_attribute("d")
    assert (gap or "").count("M") == 2, "there is a gap where nothing was measured"

    with page.expect_response("**/history?span=hour"):
        page.get_by_role("radio", name="1 h").check()
    expect(page.locator("#read-in")).to_have_text("410/s")


def test_each_moment_of_the_chart_can_be_read(page: Page, stand_in: StandIn) -> None:
    stand_in.history = Series(1, NOW, [10.0, 20.0, 30.0], [9.0, 19.0, 29.0], [0.001, None, 0.003])
    pass_time(page, 3)
    plot = page.get_by_role("slider", name="Moment shown")
    expect(plot).to_have_attribute("aria-valuetext", "now: in 30/s, out 29/s, confirm 3.0 ms")
    plot.press("ArrowLeft")
    expect(page.locator("#read-at")).to_contain_text("at ")
    expect(page.locator("#cursor")).to_be_visible()
    plot.press("ArrowLeft")
    expect(page.locator("#read-in")).to_have_text("20/s")
    expect(page.locator("#read-confirm")).to_have_text("\u2013")
    plot.press("Home")
    expect(page.locator("#read-in")).to_have_text("10/s")
    expect(plot).to_have_attribute("aria-valuenow", "0")
    plot.press("Escape")
    expect(page.locator("#read-in")).to_have_text("30/s")
    expect(page.locator("#cursor")).to_be_hidden()
    plot.hover(position={"x": 5, "y": 5})
    expect(page.locator("#read-in")).to_have_text("10/s")
    page.mouse.move(0, 0)
    expect(page.locator("#read-at")).to_have_text("now")


def test_outcomes_are_traffic_and_housekeeping_without_what_never_came(
    page: Page, stand_in: StandIn
) -> None:
    outcomes = page.get_by_role("region", name="Outcomes")
    traffic = outcomes.get_by_role("table", name="Traffic").locator("tbody tr")
    expect(traffic).to_have_text(
        ["Routed to an agent 1,270,442", "Answered: no agent online 1,204", "Dead-lettered 45"]
    )
    housekeeping = outcomes.get_by_role("table", name="Housekeeping").locator("tbody tr")
    expect(housekeeping).to_have_text(["Agents registered 64"])

    nothing = replace(WORKING.messages, outcomes={"routed": 0, "registered": 0})
    stand_in.status = replace(WORKING, messages=nothing)
    expect(outcomes).to_contain_text("Nothing yet.")
    expect(outcomes.get_by_role("table")).to_have_count(0)


def test_dead_letters_say_who_sent_them_and_why_and_how_to_see_them(
    page: Page, stand_in: StandIn
) -> None:
    letters = page.locator("#latest > li")
    expect(letters).to_have_count(3)
    expect(letters.nth(0)).to_contain_text("invalid_json from an unknown sender")
    expect(letters.nth(0)).to_contain_text("in broker_input_queue 12 s ago")
    expect(letters.nth(0)).to_contain_text("JSON is malformed: invalid character (byte 17)")
    expect(letters.nth(1)).to_contain_text("too_large from agent_31")
    expect(letters.nth(1)).to_contain_text("3 min ago")
    expect(letters.locator("code")).to_have_text(
        [
            "broker dead-letters show --id=0f6f1c0a9b3e4a57a4b1c6a2f0d3e8b9",
            # An id that a shell might run is not put into a command.
            "broker dead-letters show --reason too_large --newest 1",
            "broker dead-letters show --reason invalid_field --newest 1",
        ]
    )
    expect(page.locator("#reasons li")).to_have_text(
        ["invalid_json 31", "too_large 12", "invalid_field 2"]
    )

    stand_in.status = replace(
        WORKING, dead_letters=replace(WORKING.dead_letters, by_reason={"too_deep": 0}, latest=[])
    )
    expect(page.locator("#no-dead-letters")).to_be_visible()
    expect(letters).to_have_count(0)


def test_the_command_is_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy = page.locator("#latest").get_by_role("button", name="Copy").first
    with stopped_time(page):
        copy.click()
        expect(page.get_by_role("button", name="Copied")).to_have_count(1)
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == "broker dead-letters show --id=0f6f1c0a9b3e4a57a4b1c6a2f0d3e8b9"
        pass_time(page, 2)
        expect(page.get_by_role("button", name="Copied")).to_have_count(0)


def test_the_command_is_selected_where_browsers_do_not_let_it_be_copied(page: Page) -> None:
    page.context.clear_permissions()
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()); }")
    page.locator("#latest").get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Selected")).to_have_count(1)
    assert page.evaluate("getSelection().toString()").startswith("broker dead-letters show")


def test_an_outage_of_rabbitmq_and_the_recovery_show(page: Page, stand_in: StandIn) -> None:
    rabbitmq = page.get_by_role("region", name="RabbitMQ")
    stand_in.status = WITHOUT_RABBITMQ
    expect(rabbitmq).to_contain_text("Connecting for 41 s")
    expect(rabbitmq).to_contain_text("connection refused 3 s ago")
    expect(rabbitmq).not_to_contain_text("over")
    check = page.locator("#checks li", has_text="Check that RabbitMQ runs")
    expect(check).to_contain_text("cannot connect: connection refused")
    # What only RabbitMQ knows is neither well nor wrong.
    alarm = page.locator("#checks li", has_text="alarm")
    expect(alarm.locator(".state")).to_have_attribute("data-tone", "none")
    expect(alarm.locator(".advice")).to_be_hidden()

    stand_in.status = WORKING
    expect(rabbitmq).to_contain_text("Connected")
    expect(page.locator("#checks")).not_to_contain_text("Check that")
    expect(page.locator("#checks")).to_contain_text("no alarm")


def test_each_failing_check_says_what_to_do_and_links_to_its_chapter(
    page: Page, stand_in: StandIn
) -> None:
    for status, advice, chapter in (
        (BLOCKED, "Free memory or disk space", "alarm"),
        (WITHOUT_SERVER, "Check that the central server runs", "server"),
        (STALE, "as soon as the registry is fresh", "consumers"),
        (STALE, "It recovers with the connection to the central server", "registry"),
        (WITHOUT_RABBITMQ, "They recover with the connection to RabbitMQ", "consumers"),
        (STOPPING, "check what manages the process", "running"),
    ):
        stand_in.status = status
        check = page.locator("#checks li", has_text=advice)
        link = check.get_by_role("link", name=f"Runbook: {chapter}")
        expect(link).to_have_attribute("href", f"runbook#{chapter}")

    page.get_by_role("link", name="Runbook: running").click()
    expect(page.locator("#running:target")).to_be_in_viewport()
    expect(page.locator("#running + p")).to_contain_text("A stop was requested")
    page.get_by_role("link", name="Status", exact=True).click()
    expect(verdict_of(page)).to_have_text("Stopping")


def test_a_broker_that_is_gone_shows_and_so_does_its_return(page: Page, stand_in: StandIn) -> None:
    expect(verdict_of(page)).to_have_text("Routing")

    stand_in.stop()
    pass_time(page, 5)
    expect(verdict_of(page)).to_have_text("The broker does not answer")
    expect(page.locator("#lost")).to_contain_text("Check that its process runs")
    expect(page.locator("#silence")).to_contain_text("The data below is from")
    expect(page.locator("#checks")).to_be_hidden()

    stand_in.start()
    pass_time(page, 1)
    expect(verdict_of(page)).to_have_text("Routing")
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#checks")).to_be_visible()


def test_a_frozen_broker_shows_though_the_stream_stays_open(page: Page, stand_in: StandIn) -> None:
    expect(verdict_of(page)).to_have_text("Routing")

    stand_in.is_frozen = True
    pass_time(page, 5)
    expect(verdict_of(page)).to_have_text("The broker does not answer")

    stand_in.is_frozen = False
    expect(verdict_of(page)).to_have_text("Routing")


def test_a_broker_without_a_stream_is_asked(page: Page, stand_in: StandIn) -> None:
    stand_in.has_stream = False
    page.reload()
    stand_in.streamed.clear()
    for status, word in ((WORKING, "Routing"), (STALE, "Paused")):
        stand_in.status = status
        pass_time(page, 3)
        expect(verdict_of(page)).to_contain_text(word)

    stand_in.has_stream = True
    pass_time(page, 1)
    assert stand_in.streamed.wait(timeout=30), "it was not asked for again"


def test_only_changes_of_the_verdict_are_read_out(page: Page, stand_in: StandIn) -> None:
    live = page.locator("[aria-live=polite]")
    expect(live).to_contain_text("Routing. Messages are routed")
    assert page.locator("[aria-live], [role=status], [role=alert], output").count() == 1
    live.evaluate(
        """(node) => {
          window.changes = 0;
          new MutationObserver(() => { window.changes += 1; })
            .observe(node, { childList: true, characterData: true, subtree: true });
        }"""
    )

    for rate in (20, 30, 40):
        stand_in.status = with_rates(rate)
        expect(page.locator("#received-rate")).to_have_text(str(rate))
    assert page.evaluate("window.changes") == 0

    stand_in.status = UNREAD
    expect(live).to_contain_text("nobody reads")
    changes = page.evaluate("window.changes")
    assert changes > 0

    # A number that grows each second is no news.
    word = UNREAD.verdict.word.replace("20,164", "23,001")
    stand_in.status = replace(UNREAD, verdict=replace(UNREAD.verdict, word=word))
    expect(verdict_of(page)).to_contain_text("23,001")
    assert page.evaluate("window.changes") == changes


def test_nodes_stay_where_they_are(page: Page, stand_in: StandIn) -> None:
    some = [agent(number) for number in range(20)]
    others = [agent(number) for number in range(10, 35)]
    list_agents(page, stand_in, *some)
    elements = page.locator("*").count()
    kept = page.locator("#agents tr", has_text="agent_15").element_handle()
    line = page.locator("#traffic tr").first.element_handle()

    for _ in range(2):
        stand_in.status = WITHOUT_RABBITMQ
        list_agents(page, stand_in, *others)
        expect(verdict_of(page)).to_contain_text("Paused")
        stand_in.status = WORKING
        list_agents(page, stand_in, *some)
        expect(verdict_of(page)).to_have_text("Routing")

    assert page.locator("*").count() == elements
    assert kept.evaluate("(node) => node.isConnected")
    assert line.evaluate("(node) => node.isConnected")
    assert rows_of(page).count() == 20


def _has(complaint: str, message: ConsoleMessage) -> bool:
    return complaint in message.text


def test_the_policy_forbids_what_the_page_does_not_need(page: Page, complaints: list[str]) -> None:
    for attempt, complaint in (
        ("try { document.body.innerHTML = '<b>' } catch {}", "TrustedHTML"),
        ("document.body.append(Object.assign(new Image(), { src: 'x' }))", "img-src"),
        ("document.body.setAttribute('style', 'color: red')", "style-src"),
        ("fetch('http://127.0.0.2/').catch(() => {})", "connect-src"),
    ):
        with page.expect_console_message(partial(_has, complaint)):
            page.evaluate(f"() => {{ {attempt} }}")
    complaints.clear()


def test_an_unknown_check_and_outcome_are_shown_all_the_same(page: Page, stand_in: StandIn) -> None:
    stand_in.status = replace(
        WORKING,
        checks=[Check("novel", "why not")],
        messages=replace(WORKING.messages, outcomes={"novel": 5}),
    )
    expect(page.locator("#checks")).to_contain_text("See the end of the broker's log")
    expect(page.locator("#traffic")).to_contain_text("novel 5")
