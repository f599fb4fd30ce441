"""A real browser for tests, and a page in it that may not complain."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",  # it runs as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE = 30_000
"""Milliseconds for what the page is expected to show."""
_NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
"""Whatever is asked for just then fails: other tests give this machine links to hosts of theirs."""
_UNREACHABLE = re.compile(r"Failed to load resource: (net::ERR_|the server responded with .* 503)")

POOR_CONTRASTS = """() => {
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

BEYOND_THE_EDGE = """() => {
  const right = (node) => node.getBoundingClientRect().right;
  return [...document.querySelectorAll("body *:not(.unseen, .unseen *)")]
    .filter((node) => right(node) > right(node.parentElement.closest("section, body")))
    .map((node) => node.outerHTML);
}"""


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Run a headless Chromium with a profile of its own for the length of the context."""
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.fail(
            "the status page is tested in a real browser, and there is none: install Chromium "
            "(Debian, Ubuntu: apt-get install chromium; macOS: brew install --cask google-chrome "
            "and link google-chrome into a directory of PATH)"
        )
    with sync_playwright() as playwright:
        expect.set_options(timeout=_PATIENCE)
        browser = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, url: str, *, may_be_unreachable: bool = False) -> Iterator[Page]:
    """Visit a page in a context of its own; at the end, fail if anything in it went wrong."""
    with browser.new_context(locale="en-GB") as context:
        page = context.new_page()
        with complaints_of(page, may_be_unreachable=may_be_unreachable):
            visit(page, url)
            yield page


def visit(page: Page, url: str) -> None:
    """Load the status page; it has loaded itself again if a part was missing."""
    try:
        page.goto(url, wait_until="commit")
    except Error as error:
        if _NETWORK_CHANGED not in error.message:
            raise
        page.goto(url, wait_until="commit")
    expect(page.locator("#verdict-word")).not_to_have_text("Connecting…")
    expect(page.locator("#incomplete")).to_be_hidden()


@contextmanager
def complaints_of(page: Page, *, may_be_unreachable: bool) -> Iterator[list[str]]:
    """Collect what goes wrong in a page, and fail if there is any of it at the end.

    Args:
        may_be_unreachable: Whether the server may be away for a while: browsers say so in the
            console, whatever the page does.
    """
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        is_expected = _NETWORK_CHANGED in message.text or (
            may_be_unreachable and _UNREACHABLE.match(message.text)
        )
        if message.type in {"error", "warning"} and not is_expected:
            complaints.append(message.text)

    def failed(error: Error) -> None:
        complaints.append(str(error))

    page.on("console", heard)
    page.on("pageerror", failed)
    yield complaints
    page.remove_listener("console", heard)
    page.remove_listener("pageerror", failed)
    assert not complaints
