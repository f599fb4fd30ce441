"""Who gets a message."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.messages import UNKNOWN_SENDER, ChatMessage
from broker.core.policy import CannotRoute, FailureReason, RouteTo, route
from broker.core.registry import AgentRegistry

AGENT_IDS = st.sampled_from("abcdef")
RANDOM_NUMBERS = st.floats(0.0, 1.0, exclude_max=True)


def registry_of(known: dict[str, bool]) -> AgentRegistry:
    registry = AgentRegistry(max_agents=100)
    for agent_id in known:
        registry.register(agent_id, agent_id.upper())
    for agent_id, is_online in known.items():
        if not is_online:
            registry.disconnect(agent_id)
    return registry


def always(value: float) -> Callable[[], float]:
    return lambda: value


def message_from(sender_id: str) -> ChatMessage:
    return ChatMessage("TEXT", {}, sender_id)


@given(
    known=st.dictionaries(AGENT_IDS, st.booleans()),
    sender_id=AGENT_IDS | st.just(UNKNOWN_SENDER),
    random=RANDOM_NUMBERS,
)
def test_someone_else_online_gets_the_message_or_the_reason_is_named(
    known: dict[str, bool], sender_id: str, random: float
) -> None:
    online = {agent_id for agent_id, is_online in known.items() if is_online}
    decision = route(message_from(sender_id), registry_of(known), always(random))

    if online - {sender_id}:
        assert isinstance(decision, RouteTo)
        assert decision.receiver_id in online - {sender_id}
    elif online:
        assert decision == CannotRoute(FailureReason.ONLY_SENDER_ONLINE)
    else:
        assert decision == CannotRoute(FailureReason.NO_AGENT_ONLINE)


@given(known=st.dictionaries(AGENT_IDS, st.booleans()), data=st.data())
def test_each_candidate_is_reachable(known: dict[str, bool], data: st.DataObject) -> None:
    sender_id = data.draw(st.sampled_from([*known, UNKNOWN_SENDER]))
    candidates = {agent_id for agent_id, is_online in known.items() if is_online} - {sender_id}
    registry = registry_of(known)
    shares = [(share + 0.5) / len(candidates) for share in range(len(candidates))]

    reached = {route(message_from(sender_id), registry, always(share)) for share in shares}

    assert reached == {RouteTo(agent_id) for agent_id in candidates}


def test_the_only_agent_online_has_nobody_to_write_to() -> None:
    registry = registry_of({"a": True, "b": False})

    assert route(message_from("a"), registry, always(0.0)) == CannotRoute(
        FailureReason.ONLY_SENDER_ONLINE
    )


def test_an_agent_that_is_offline_may_send() -> None:
    registry = registry_of({"a": False, "b": True})

    assert route(message_from("a"), registry, always(0.0)) == RouteTo("b")


def test_an_offline_sender_is_not_taken_for_the_only_agent_online() -> None:
    registry = registry_of({"a": False})

    assert route(message_from("a"), registry, always(0.0)) == CannotRoute(
        FailureReason.NO_AGENT_ONLINE
    )


@pytest.mark.parametrize("sender_id", ["agent_0", "agent_5", "agent_10", UNKNOWN_SENDER])
def test_every_candidate_has_the_same_chance(sender_id: str) -> None:
    registry = registry_of({f"agent_{number}": True for number in range(11)})
    # Places move when agents come and go; chances must not.
    registry.disconnect("agent_3")
    registry.register("agent_3", "Agent 3")
    random = Random(20_250_101).random
    draws = 50_000

    receivers = Counter(
        decision.receiver_id
        for _ in range(draws)
        if isinstance(decision := route(message_from(sender_id), registry, random), RouteTo)
    )

    candidates = {agent.agent_id for agent in registry} - {sender_id}
    assert receivers.keys() == candidates
    assert receivers.total() == draws
    expected = draws / len(candidates)
    chi_square = sum((count - expected) ** 2 / expected for count in receivers.values())
    # The 99.9 % quantile of the distribution with 10 degrees of freedom; with 9 it is lower.
    assert chi_square < 29.59
