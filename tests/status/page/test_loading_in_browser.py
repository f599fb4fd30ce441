"""A page of which a part could not be loaded says so, and loads itself again."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.status.page.acting import pass_time, stopped_time, verdict_of
from tests.status.page.stand_in import StandIn

pytestmark = pytest.mark.xdist_group("status page")  # one browser for all of them


def notice_of(page: Page) -> Locator:
    return page.locator("#incomplete")


@contextmanager
def lost(page: Page, name: str) -> Iterator[None]:
    """Let the network lose a part of the page whenever the browser asks for it in the block.

    That may be twice for one load: ahead of the parser, and then for the element itself.
    """
    pattern = f"**/page/{name}"
    page.route(pattern, lambda route: route.abort("connectionreset"))
    yield
    page.unroute(pattern)


def says_retry(page: Page, seconds: int) -> None:
    expect(notice_of(page)).to_have_text(
        f"The page could not be loaded completely. Retrying in {seconds} s."
    )


def pass_seconds(page: Page, count: int) -> None:
    for _ in range(count):
        pass_time(page, 1)


@pytest.mark.parametrize("name", ["main.js", "text.js", "details.css"])
def test_a_page_without_one_of_its_parts_loads_itself_again(page: Page, name: str) -> None:
    with stopped_time(page):
        with lost(page, name):
            page.reload()
            says_retry(page, 1)
        pass_time(page, 1)
        expect(notice_of(page)).to_be_hidden()
        expect(verdict_of(page)).to_have_text("Routing")


def test_pauses_between_the_tries_grow_until_the_page_is_complete(page: Page) -> None:
    with stopped_time(page):
        with lost(page, "main.js"):
            page.reload()
            says_retry(page, 1)
            expect(page.locator("[aria-live=polite]")).to_contain_text("could not be loaded")
            for seconds in (1, 2, 4, 8, 10):
                says_retry(page, seconds)
                pass_seconds(page, seconds)
            says_retry(page, 10)
        pass_seconds(page, 10)
        expect(verdict_of(page)).to_have_text("Routing")

        with lost(page, "main.js"):
            page.reload()
            says_retry(page, 1)
        pass_time(page, 1)
        expect(verdict_of(page)).to_have_text("Routing")


def test_an_incomplete_page_stays_while_the_broker_does_not_answer(
    page: Page, stand_in: StandIn
) -> None:
    with stopped_time(page):
        with lost(page, "main.js"):
            page.reload()
            says_retry(page, 1)
        stand_in.stop()
        pass_time(page, 1)
        says_retry(page, 2)
        stand_in.start()
        pass_seconds(page, 2)
        expect(notice_of(page)).to_be_hidden()
        expect(verdict_of(page)).to_have_text("Routing")
