from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.status.page.chromium import complaints_of, open_chromium, visit
from tests.status.page.stand_in import StandIn, open_stand_in
from tests.status.page.statuses import WORKING


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with open_stand_in(WORKING) as stand_in:
        yield stand_in


@pytest.fixture(scope="package")
def tab() -> Iterator[Page]:
    # Not for longer: while Playwright runs, this thread has an asyncio event loop.
    with open_chromium() as browser, browser.new_context(locale="en-GB") as context:
        tab = context.new_page()
        tab.clock.install()
        yield tab


@pytest.fixture
def complaints(tab: Page) -> Iterator[list[str]]:
    with complaints_of(tab, may_be_unreachable=True) as complaints:
        yield complaints


@pytest.fixture
def page(tab: Page, stand_in: StandIn, complaints: list[str]) -> Iterator[Page]:
    """The page of the stand-in, in a tab that all tests share."""
    del complaints
    tab.set_viewport_size({"width": 1200, "height": 900})
    tab.emulate_media(color_scheme="light", reduced_motion="no-preference")
    visit(tab, stand_in.url)
    yield tab
    tab.goto("about:blank")
