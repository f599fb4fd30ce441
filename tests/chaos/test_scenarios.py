"""Every scenario in its short form, by another seed each time."""

import logging
from pathlib import Path
from random import randrange

import pytest
import trio

from broker.sandbox.rabbitmq import RabbitmqNode
from chaos.play import play
from chaos.report import complaint
from chaos.scenario import Scenario
from chaos.scenarios import SCENARIOS

LIMIT = 300.0
"""Seconds; nothing here takes this long."""


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_scenario(
    scenario: Scenario,
    rabbitmq: RabbitmqNode,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # It reports each connection that it loses, and losing them is the purpose here.
    caplog.set_level(logging.CRITICAL, "aiormq")
    with trio.fail_after(LIMIT):
        result = await play(
            scenario,
            rabbitmq,
            tmp_path / scenario.name,
            seed=randrange(1_000_000),
            is_long=False,
        )
    assert not result.problems, complaint(result)
    assert result.confirmed > 0
    assert result.faults > 0
