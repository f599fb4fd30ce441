"""What tests do with the page."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, expect

from broker.status.model import AgentEntry
from tests.status.page.stand_in import StandIn


def verdict_of(page: Page) -> Locator:
    return page.locator("#verdict-word")


def rows_of(page: Page) -> Locator:
    """Return the rows of the listed agents."""
    return page.locator("#agents tr")


def pass_time(page: Page, seconds: float) -> None:
    """Let the page believe that time has passed."""
    page.clock.fast_forward(round(seconds * 1_000))


@contextmanager
def stopped_time(page: Page) -> Iterator[None]:
    """Let no time pass for the page in the block but by `pass_time`, however long it takes."""
    # A moment that is still to come when the browser hears of it, and less than a silence away.
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 4"))
    yield
    page.clock.resume()


def list_agents(page: Page, stand_in: StandIn, *agents: AgentEntry) -> None:
    """List agents, and let the page ask for them at once, as after any input to the search."""
    stand_in.agents = [*agents]
    page.locator("#search").dispatch_event("input")
    pass_time(page, 0.3)
    expect(rows_of(page)).to_have_count(len(agents))
