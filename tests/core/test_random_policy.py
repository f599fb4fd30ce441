from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.agent import Agent
from broker.core.messages import UNKNOWN_SENDER
from broker.core.routing.failure import FailureReason
from broker.core.routing.route import route
from tests.core.registries import chat, disconnect, online, register, registry_with

AGENT_IDS = st.sampled_from("abcdef")


@given(
    known=st.dictionaries(AGENT_IDS, st.booleans()),
    sender_id=AGENT_IDS | st.just(UNKNOWN_SENDER),
    random=st.floats(0.0, 1.0, exclude_max=True) | st.just(1 - 2**-53),
)
def test_someone_else_online_gets_the_message_or_the_reason_is_named(
    known: dict[str, bool], sender_id: str, random: float
) -> None:
    registry = registry_with(*known)
    for agent_id, is_online in known.items():
        if not is_online:
            disconnect(registry, agent_id)
    receiver = route(chat(sender_id), registry, random=lambda: random)

    others = set(online(registry)) - {sender_id}
    if isinstance(receiver, Agent):
        assert receiver.agent_id in others
    else:
        assert not others
        assert receiver is (
            FailureReason.ONLY_SENDER_ONLINE if online(registry) else FailureReason.NO_AGENT_ONLINE
        )


@pytest.mark.parametrize("sender_id", ["agent_0", "agent_5", "agent_10", UNKNOWN_SENDER])
def test_every_candidate_has_the_same_chance(sender_id: str) -> None:
    registry = registry_with(*(f"agent_{number}" for number in range(11)))
    # Places move when agents come and go; chances must not.
    disconnect(registry, "agent_3")
    register(registry, "agent_3")
    random = Random(20_250_101).random
    draws = 50_000

    receivers = [route(chat(sender_id), registry, random=random) for _ in range(draws)]
    counts = Counter(receiver.agent_id for receiver in receivers if isinstance(receiver, Agent))

    assert counts.keys() == set(online(registry)) - {sender_id}
    assert counts.total() == draws
    expected = draws / len(counts)
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    # The 99.9 % quantile of the distribution with 10 degrees of freedom; with 9 it is lower.
    assert chi_square < 29.59
