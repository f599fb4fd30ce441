"""A policy of somebody else's: whatever it does, a message has an outcome."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from broker.core.agent import Agent
from broker.core.messages import ChatMessage, Rejected, RejectReason
from broker.core.routing.agents import Agents
from broker.router.guarded_policy import GuardedPolicy
from broker.telemetry.tally import MessageTally
from tests.core.registries import chat, registry_with

if TYPE_CHECKING:
    from broker.core.routing.policy import Policy

MESSAGE = chat("c", text_payload="s3cr3t")
REGISTRY = registry_with("a", "b", "c")
ALICE, BOB, CAROL = REGISTRY.online
CANDIDATES = Agents(MESSAGE, REGISTRY, lambda: 0.0)

type Choose = Callable[[ChatMessage, Agents], Any]


class Rig:
    """A guarded policy, with a clock set by hand."""

    def __init__(self, policy: object) -> None:
        self.now = 0.0
        self.tally = MessageTally()
        self.guarded = GuardedPolicy(cast("Policy", policy), self.tally, lambda: self.now)

    def choose(self) -> Agent | Rejected | None:
        return self.guarded(MESSAGE, CANDIDATES)

    def logged(self, events: int = 1) -> list[tuple[str, float]]:
        """Choose once in ten seconds, and return what was logged and when."""
        logged = []
        for _ in range(events):
            with structlog.testing.capture_logs() as lines:
                self.choose()
            logged += [(line["event"], self.now) for line in lines]
            self.now += 10
        return logged


def test_what_a_policy_chooses_is_chosen() -> None:
    assert Rig(lambda *_: BOB).choose() is BOB
    assert Rig(lambda _, agents: agents.random()).choose() is ALICE


def test_a_policy_may_choose_nobody() -> None:
    rig = Rig(lambda *_: None)
    assert rig.choose() is None
    assert rig.tally.policy_errors == 0


def test_what_it_has_kept_of_an_agent_stands_for_the_agent_as_it_is_now() -> None:
    assert Rig(lambda *_: Agent("b", 7, "Bob as he was")).choose() is BOB


async def _later(*_: object) -> Agent:
    await asyncio.sleep(0)
    return BOB


def _fails(*_: object) -> Agent:
    raise ValueError("a bug that says s3cr3t")


def _exits(*_: object) -> Agent:
    raise ExceptionGroup("several", [ValueError(), OSError()])


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (_fails, "the routing policy failed: ValueError"),
        (_exits, "the routing policy failed: ExceptionGroup"),
        (lambda: BOB, "the routing policy failed: TypeError"),
        (lambda *_: "b", "the routing policy failed: AttributeError"),
        (_later, "the routing policy failed: AttributeError"),
        (lambda *_: CAROL, "the routing policy chose an agent that may not receive the message"),
        (
            lambda *_: Agent("stranger", 0),
            "the routing policy chose an agent that may not receive the message",
        ),
    ],
    ids=["raises", "raises-several", "takes-nothing", "text", "coroutine", "sender", "stranger"],
)
def test_a_wrong_choice_rejects_the_message_and_says_why(policy: Choose, error: str) -> None:
    rig = Rig(policy)
    with structlog.testing.capture_logs() as lines:
        verdict = rig.choose()
    assert verdict == Rejected(RejectReason.POLICY_ERROR, error)
    assert rig.tally.policy_errors == 1
    [line] = lines
    assert (line["event"], line["log_level"], line["error"]) == ("policy_failed", "error", error)
    assert "s3cr3t" not in str(line)
    if "ValueError" in error:
        assert __file__ in line["at"][-1]


def test_a_policy_that_failed_is_asked_again() -> None:
    chosen = iter([CAROL, BOB])
    rig = Rig(lambda *_: next(chosen))
    assert isinstance(rig.choose(), Rejected)
    assert rig.choose() is BOB


def test_failures_are_counted_each_and_logged_once_a_minute() -> None:
    rig = Rig(_fails)
    assert rig.logged(events=13) == [("policy_failed", at) for at in (0.0, 60.0, 120.0)]
    assert rig.tally.policy_errors == 13


def test_a_slow_policy_is_warned_about_once_a_minute() -> None:
    def takes(seconds: float) -> Choose:
        def choose(*_: object) -> Agent:
            rig.now += seconds
            return BOB

        return choose

    rig = Rig(takes(0.25))
    with structlog.testing.capture_logs() as lines:
        for _ in range(250):
            assert rig.choose() is BOB
    assert lines == [
        {"event": "policy_slow", "log_level": "warning", "milliseconds": 250.0},
        {"event": "policy_slow", "log_level": "warning", "milliseconds": 250.0},
    ]
    assert rig.tally.policy_errors == 0
    rig = Rig(takes(0.005))
    assert rig.logged(events=2) == []


def test_each_choice_is_measured_a_failed_one_as_well() -> None:
    rig = Rig(_fails)
    for _ in range(3):
        rig.choose()
    assert sum(rig.tally.policy_seconds.counts) == 3


class Told:
    """A policy that wants to know everything."""

    def __init__(self) -> None:
        self.news: list[tuple[object, ...]] = []

    def __call__(self, _: ChatMessage, agents: Agents) -> Agent:
        return agents.random()

    def arrived(self, agent: Agent) -> None:
        self.news.append(("arrived", agent))

    def departed(self, agent_id: str) -> None:
        self.news.append(("departed", agent_id))

    def answered(self, agent_id: str, seconds: float) -> None:
        self.news.append(("answered", agent_id, seconds))

    def unanswered(self, agent_id: str) -> None:
        self.news.append(("unanswered", agent_id))


def tell_all(guarded: GuardedPolicy) -> None:
    guarded.arrived(ALICE)
    guarded.departed("a")
    guarded.answered("b", 1.5)
    guarded.unanswered("b")


def test_news_are_passed_on_to_who_wants_them() -> None:
    policy = Told()
    guarded = Rig(policy).guarded
    assert guarded.watches_agents
    assert guarded.watches_answers
    tell_all(guarded)
    assert policy.news == [
        ("arrived", ALICE),
        ("departed", "a"),
        ("answered", "b", 1.5),
        ("unanswered", "b"),
    ]


def test_a_function_is_told_nothing() -> None:
    rig = Rig(lambda *_: BOB)
    assert not rig.guarded.watches_agents
    assert not rig.guarded.watches_answers
    tell_all(rig.guarded)
    assert rig.tally.policy_errors == 0


@pytest.mark.parametrize(
    ("method", "agents", "answers"),
    [
        ("arrived", True, False),
        ("departed", True, False),
        ("answered", False, True),
        ("unanswered", False, True),
    ],
)
def test_each_method_is_optional(method: str, agents: bool, answers: bool) -> None:
    told: list[object] = []

    class Partial:
        def __call__(self, *_: object) -> Agent:
            return BOB

    setattr(Partial, method, lambda _, *news: told.append(news))
    rig = Rig(Partial())
    assert rig.guarded.watches_agents == agents
    assert rig.guarded.watches_answers == answers
    tell_all(rig.guarded)
    assert len(told) == 1
    assert rig.tally.policy_errors == 0


def test_news_that_a_policy_fails_on_harm_nobody() -> None:
    class Fails(Told):
        arrived = departed = answered = unanswered = _fails  # type: ignore[assignment]

    rig = Rig(Fails())
    with structlog.testing.capture_logs() as lines:
        tell_all(rig.guarded)
    assert rig.tally.policy_errors == 4
    assert [line["event"] for line in lines] == ["policy_failed"]
    assert rig.choose() is ALICE
