"""Check a routing policy against the laws that those of the broker keep."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any, cast

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test
from hypothesis.strategies import SearchStrategy, just, sampled_from

from broker.core.routing.policy import Policy
from broker.testing.policy_machine import PolicyMachine

_NO_FIELDS = just(cast("Mapping[str, Any]", {}))
_SOME_NAMES = sampled_from(["Ada", "Bob", "Unknown Agent"])

SETTINGS = hypothesis.settings(
    max_examples=100,
    stateful_step_count=20,
    deadline=None,  # how long an example takes is no property of the policy
    phases=set(Phase) - {Phase.explain},  # it takes long, and the steps say enough
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
"""How hard Hypothesis tries, unless it is told otherwise."""


def check_policy(
    policy: Policy | Callable[[], Policy],
    *,
    fields: SearchStrategy[Mapping[str, Any]] = _NO_FIELDS,
    names: SearchStrategy[str] = _SOME_NAMES,
    may_refuse: bool = False,
    settings: hypothesis.settings = SETTINGS,
) -> None:
    """Try a policy on messages and agents that come and go, and look for a case in which it fails.

    The policy has to choose one of the agents that may receive the message, for any message, any
    agents and any history. It must not change the message or an agent, and neither it nor its
    optional methods may raise.

    Call it in a test. Hypothesis shrinks what it finds, and prints the steps that lead there.

    Args:
        policy: A function or an object. For one with a memory, pass a class or a function without
            parameters, which makes a new one for each example.
        fields: Draws more fields of a message, as JSON has them, to reach what depends on them.
        names: Draws the names of agents, likewise.
        may_refuse: Whether it may choose nobody (None) though there are agents.
        settings: How hard Hypothesis tries; an example is a sequence of events.

    Raises:
        AssertionError: It chooses an agent that may not receive the message, or nobody; or it
            changes what it was given.
        TypeError: It is neither a policy nor makes one.
        Exception: What the policy raises.
    """
    machine = partial(PolicyMachine, _maker(policy), fields, names, may_refuse=may_refuse)
    # What makes a machine will do, though the types of Hypothesis ask for a class.
    run_state_machine_as_test(cast("type[PolicyMachine]", machine), settings=settings)


def _maker(policy: Policy | Callable[[], Policy]) -> Callable[[], Policy]:
    """Return what makes a policy."""
    if not callable(policy):
        raise TypeError(f"{policy!r} is no policy: it cannot be called")
    if isinstance(policy, type) or (_takes(policy, 0) and not _takes(policy, 2)):
        return cast("Callable[[], Policy]", policy)
    return lambda: cast("Policy", policy)


def _takes(function: Callable[..., Any], arguments: int) -> bool:
    try:
        signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    return True
