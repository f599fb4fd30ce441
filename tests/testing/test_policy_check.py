"""Policies that keep the laws pass, and each law is broken by one that does not."""

import subprocess
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import hypothesis
import pytest
from hypothesis import Phase
from hypothesis import strategies as st

from broker.core.agent import Agent
from broker.core.messages import ChatMessage
from broker.core.routing.agents import Agents
from broker.core.routing.consistent_hash import ConsistentHash
from broker.core.routing.least_outstanding import LeastOutstanding
from broker.core.routing.policy import choose_at_random
from broker.core.routing.unanswered import Unanswered
from broker.testing import check_policy
from broker.testing.policy_check import SETTINGS


class FollowedLeastOutstanding(LeastOutstanding):
    """With messages ahead of agents, as the broker keeps them."""

    def __init__(self) -> None:
        self._ahead = Unanswered(most=5, max_age=10.0)
        self._numbers = count()
        super().__init__(self._ahead, self._now)

    def _now(self) -> float:
        return float(next(self._numbers))

    def __call__(self, message: ChatMessage, agents: Agents, /) -> Agent:
        for agent_id in self._ahead.expire(self._now()):
            self.unanswered(agent_id)
        chosen = super().__call__(message, agents)
        self._ahead.routed(chosen.agent_id, str(next(self._numbers)), self._now())
        return chosen

    def departed(self, agent_id: str) -> None:
        super().departed(agent_id)
        self._ahead.departed(agent_id)


@pytest.mark.exhaustive
@pytest.mark.parametrize("policy", [choose_at_random, ConsistentHash, FollowedLeastOutstanding])
def test_the_policies_of_the_broker_keep_the_laws(policy: Any) -> None:
    check_policy(policy)


def test_an_object_is_used_for_all_examples() -> None:
    check_policy(ConsistentHash(), settings=QUICK)


def test_what_takes_nothing_makes_a_policy_for_each_example() -> None:
    made = []

    def make() -> ConsistentHash:
        made.append(ConsistentHash())
        return made[-1]

    check_policy(make, settings=QUICK)
    assert len(made) > 10


QUICK = hypothesis.settings(SETTINGS, max_examples=20)
# To make an example small takes much longer than to find it. The search ends where it finds one.
UNSHRUNK = hypothesis.settings(SETTINGS, max_examples=2000, phases=[Phase.generate], database=None)

type Choose = Callable[[ChatMessage, Agents], Any]


def broken(policy: Any, error: type[Exception], words: str, **how: Any) -> None:
    with pytest.raises(error, match=words):
        check_policy(policy, settings=UNSHRUNK, **how)


def test_a_policy_must_choose_somebody_unless_it_says_that_it_may_not() -> None:
    def refuse(_: ChatMessage, agents: Agents) -> Agent | None:
        return agents.random() if len(agents) > 1 else None

    broken(refuse, AssertionError, "chose nobody, though agent.* may receive")
    check_policy(refuse, may_refuse=True, settings=QUICK)


class Sticky:
    """Keeps the first agent that it was given."""

    def __init__(self) -> None:
        self._agent: Agent | None = None

    def __call__(self, _: ChatMessage, agents: Agents) -> Agent:
        self._agent = self._agent or agents.random()
        return self._agent


def test_a_policy_must_not_choose_who_has_gone() -> None:
    broken(Sticky, AssertionError, r"chose agent\d, but only .* may receive the message")


class Forgetful(Sticky):
    """Keeps the latest agent that came, whether it may receive the message or not."""

    def arrived(self, agent: Agent) -> None:
        self._agent = agent

    def departed(self, _: str) -> None:
        self._agent = None


def test_a_policy_must_not_choose_who_is_not_among_the_candidates() -> None:
    broken(Forgetful, AssertionError, "but only .* may receive the message")


def test_a_policy_may_keep_an_agent_and_find_whether_it_is_there() -> None:
    class Careful(Sticky):
        def __call__(self, _: ChatMessage, agents: Agents) -> Agent:
            kept = self._agent and agents.get(self._agent.agent_id)
            self._agent = kept or agents.random()
            return self._agent

    check_policy(Careful, settings=QUICK)


def _counts_itself(_: ChatMessage, agents: Agents) -> Agent:
    agent = agents.random()
    agent.routed += 1
    return agent


def _renames(_: ChatMessage, agents: Agents) -> Agent:
    for agent in agents:
        agent.agent_name += "!"
    return agents.random()


@pytest.mark.parametrize("policy", [_counts_itself, _renames])
def test_a_policy_must_not_change_agents(policy: Choose) -> None:
    broken(policy, AssertionError, "the policy changed an agent or the message")


@pytest.mark.parametrize("chosen", ["agent0", 5, ("agent0",)])
def test_a_policy_must_choose_an_agent(chosen: object) -> None:
    broken(lambda *_: chosen, AssertionError, "which is no agent")


def _fails(*_: object) -> Agent:
    raise RuntimeError("a bug")


def test_a_policy_must_not_raise() -> None:
    broken(_fails, RuntimeError, "a bug")
    broken(lambda message: message, TypeError, "positional argument")


@pytest.mark.parametrize("method", ["arrived", "departed", "answered", "unanswered"])
def test_nor_must_its_methods_and_they_must_be_methods(method: str) -> None:
    fails = type("Fails", (ConsistentHash,), {method: _fails})
    broken(fails, RuntimeError, "a bug")
    counts = type("Counts", (ConsistentHash,), {method: 5})
    broken(counts, AssertionError, f"`{method}` of the policy would be called, but it is no method")


def test_what_cannot_be_called_is_no_policy() -> None:
    broken(5, TypeError, "5 is no policy: it cannot be called")
    broken(lambda: 5, AssertionError, "5 is no policy: it cannot be called")


def _fails_on_high(message: ChatMessage, agents: Agents) -> Agent:
    if message.text("priority") == "high":
        raise RuntimeError("a bug")
    return agents.random()


def _fails_on_vips(_: ChatMessage, agents: Agents) -> Agent:
    if any(agent.agent_name.startswith("vip") for agent in agents):
        raise RuntimeError("a bug")
    return agents.random()


def test_fields_and_names_reach_what_depends_on_them() -> None:
    check_policy(_fails_on_high, settings=QUICK)
    priorities = st.fixed_dictionaries({}, optional={"priority": st.sampled_from(["high", "low"])})
    broken(_fails_on_high, RuntimeError, "a bug", fields=priorities)
    check_policy(_fails_on_vips, settings=QUICK)
    broken(_fails_on_vips, RuntimeError, "a bug", names=st.sampled_from(["vip 1", "Bob"]))


def test_fields_must_make_chat_messages() -> None:
    wrong = st.just({"message_type": "ERROR"})
    broken(choose_at_random, ValueError, "the broker takes it for no chat message", fields=wrong)


def test_without_hypothesis_it_says_what_to_install() -> None:
    script = "import sys; sys.modules['hypothesis'] = None\nimport broker.testing"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: broker.testing needs Hypothesis: pip install 'agent-broker[testing]'"
    )
