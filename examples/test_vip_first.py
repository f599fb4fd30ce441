"""The policy keeps the laws of routing, and does what it is for."""

from hypothesis import strategies as st

from broker.testing import candidates, chat_message, check_policy
from examples.vip_first import choose

URGENT = chat_message(priority="high")


def test_it_keeps_the_laws_of_routing() -> None:
    check_policy(
        choose,
        fields=st.fixed_dictionaries({}, optional={"priority": st.sampled_from(["high", 5])}),
        names=st.sampled_from(["vip 1", "vip 2", "Ada"]),
    )


def test_an_urgent_message_goes_to_the_vip_with_fewer_messages() -> None:
    agents = candidates("Ada", "vip 1", "vip 2", "Bob")
    for agent in agents:
        agent.routed = 9 if agent.agent_id == "vip 1" else 5
    assert choose(URGENT, agents).agent_id == "vip 2"


def test_without_a_vip_an_urgent_message_is_like_any_other() -> None:
    agents = candidates("Ada", "Bob")
    assert choose(URGENT, agents).agent_id in {"Ada", "Bob"}


def test_other_messages_go_to_whoever_of_two_has_fewer() -> None:
    agents = candidates("vip 1", "Bob")
    for agent in agents:
        agent.routed = 9 if agent.agent_id == "Bob" else 5
    assert choose(chat_message(), agents).agent_id == "vip 1"
    assert choose(chat_message(priority="low"), agents).agent_id == "vip 1"
