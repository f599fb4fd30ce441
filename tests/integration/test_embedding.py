"""The broker as a task of another program: the examples of docs/embedding.md, with real peers."""

import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

import broker
from tests.integration.rig import Rig, bring_online, ids, text
from tests.lab.central_server import CentralServer
from tests.lab.eventually import PATIENCE

DOCUMENT = Path(__file__).parents[2] / "docs" / "embedding.md"

type Program = Callable[[trio.Event], Awaitable[None]]


def example(your_program: Program) -> Callable[[broker.Settings], Awaitable[None]]:
    [code] = re.findall(r"```python\n(.*?)\ntrio\.run\(main", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {"your_program": your_program}
    exec(code, names)  # noqa: S102 - it is our own
    main: Callable[[broker.Settings], Awaitable[None]] = names["main"]
    return main


@pytest.fixture
def settings(
    rig: Rig, server: CentralServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> broker.Settings:
    monkeypatch.chdir(tmp_path)
    given = {name.lower(): value for name, value in rig.settings(server.url).items()}
    return broker.load_settings({**given, "broker_http_port": "off"})


async def test_the_example_routes_and_stops(
    settings: broker.Settings, rig: Rig, server: CentralServer, capsys: pytest.CaptureFixture[str]
) -> None:
    agents, routed = bring_online(server), []

    async def your_program(stop: trio.Event) -> None:
        await rig.declare(rig.input, rig.output)
        await rig.publish(rig.input, text(1, agents[0]))
        routed.extend(ids(await rig.take(rig.output, 1)))
        stop.set()

    before = set(threading.enumerate())
    with trio.fail_after(PATIENCE):
        await example(your_program)(settings)
    assert routed == ["m-1"]
    assert "every message was settled" in capsys.readouterr().out
    left = [one.name for one in threading.enumerate() if one not in before]
    assert [name for name in left if not name.startswith("Trio")] == []  # those are Trio's to keep


async def test_the_example_of_a_policy(
    settings: broker.Settings, rig: Rig, server: CentralServer
) -> None:
    [code] = re.findall(
        r"```python\n(from broker import Agent,.*?)```", DOCUMENT.read_text(), re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - it is our own
    policy, stop = names["Shifts"](), trio.Event()
    agents = bring_online(server)
    await rig.declare(rig.input, rig.output)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.serve, settings, stop, policy)
            policy.on_duty = agents[3]
            messages = [text(number, agents[0]) for number in range(10)]
            assert await rig.decided(*messages) == [agents[3]] * 10
            policy.on_duty = agents[0]  # who sends them
            assert set(await rig.decided(*messages)) <= set(agents[1:])
            stop.set()


async def test_a_policy_that_cannot_be_loaded(settings: broker.Settings) -> None:
    wrong = replace(settings, broker_routing_policy="absent_policy:choose")
    with pytest.raises(ValueError, match="'absent_policy:choose', which cannot be loaded"):
        await broker.serve(wrong, trio.Event())


async def test_it_may_be_cancelled(settings: broker.Settings, server: CentralServer) -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.serve, settings, trio.Event())
            await server.heard("REGISTER_BROKER")
            nursery.cancel_scope.cancel()


def test_other_names_are_missing() -> None:
    with pytest.raises(AttributeError, match="'broker' has no attribute 'nothing'"):
        _ = broker.nothing  # type: ignore[attr-defined]
