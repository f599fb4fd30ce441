from pathlib import Path

import pytest

from tests.faults.__main__ import app
from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.report import complaint, line, markdown
from tests.faults.run_scenario import Result, open_runner
from tests.faults.scenario import scenario
from tests.faults.scenarios import SCENARIOS
from tests.lab.rabbitmq_node import RabbitmqNode

CHOSEN: list[float] = []


async def breaks_a_promise(env: Environment) -> Allowed:
    CHOSEN.append(env.random.random())
    env.fault()
    await env.broker.start()
    raise AssertionError("it took too long")


async def has_a_bug(env: Environment) -> Allowed:
    CHOSEN.append(env.random.random())
    raise ZeroDivisionError(f"with {env.prefetch}")


async def loses_a_message(env: Environment) -> Allowed:
    await env.broker.start()
    env.sent.attempted = 1
    env.sent.confirmed.add(0)
    return Allowed(duplicates=0)


async def run(
    node: RabbitmqNode, directory: Path, function: object, *, seed: int = 7, is_long: bool = False
) -> Result:
    assert callable(function)
    tried = scenario(fault="none", promise="none")(function)
    async with open_runner(node=node) as runner:
        return await runner.run(tried, directory, seed=seed, is_long=is_long)


async def test_a_broken_promise(rabbitmq: RabbitmqNode, tmp_path: Path) -> None:
    log = tmp_path / "kept" / "broker.log"
    result = await run(rabbitmq, log.parent, breaks_a_promise, is_long=True)
    assert result.problems == ["it took too long"]
    assert result.faults == 1
    assert result.lost is None
    assert log.exists()
    told = complaint(result)
    assert "it took too long" in told
    assert str(log.parent) in told
    assert "./scripts/chaos breaks_a_promise --seed 7 --long" in told
    assert "FAILED" in line(result)
    row = "| breaks_a_promise | none | 4.0 | 0 | ? | ? | ? | 1 |"
    assert row in markdown({"3.10": [], "4.0": [result]})


async def test_a_bug_keeps_its_traceback(rabbitmq: RabbitmqNode, tmp_path: Path) -> None:
    result = await run(rabbitmq, tmp_path / "kept", has_a_bug)
    assert result.problems == ["ZeroDivisionError: with 200"]
    assert "has_a_bug" in (tmp_path / "kept" / "traceback.txt").read_text()


async def test_the_verdict_becomes_the_result(rabbitmq: RabbitmqNode, tmp_path: Path) -> None:
    result = await run(rabbitmq, tmp_path / "kept", loses_a_message)
    assert result.lost == 1
    assert result.problems == ["1 lost: c-0"]


async def test_a_seed_repeats_what_is_random(rabbitmq: RabbitmqNode, tmp_path: Path) -> None:
    CHOSEN.clear()
    for number, seed in enumerate((1, 1, 2)):
        await run(rabbitmq, tmp_path / str(number), has_a_bug, seed=seed)
    assert CHOSEN[0] == CHOSEN[1] != CHOSEN[2]


def test_the_list_of_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert app(["--list"], result_action="return_value") == 0
    listed = capsys.readouterr().out
    for one in SCENARIOS.values():
        assert one.name in listed
        assert one.fault in listed


def test_an_unknown_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert app(["nothing_like_it"], result_action="return_value") == 2
    assert "nothing_like_it" in capsys.readouterr().out
