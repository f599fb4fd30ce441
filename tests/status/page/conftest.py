from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.status.page.chromium import open_chromium
from tests.status.page.stand_in import StandIn, open_stand_in
from tests.status.page.statuses import WORKING


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for longer: while Playwright runs, this thread has an asyncio event loop.
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with open_stand_in(WORKING) as stand_in:
        yield stand_in
