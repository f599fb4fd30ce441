"""The laws of routing: with any policy, only agents that may receive a message do."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.agent import Agent
from broker.core.messages import UNKNOWN_SENDER, ChatMessage, Rejected, RejectReason
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from broker.core.routing.failure import FailureReason
from broker.core.routing.receivers import ReceiverRule
from broker.core.routing.route import route
from tests.core.registries import chat, disconnect, online, register, registry_with
from tests.core.routing.chances import assert_even
from tests.core.routing.scenes import POLICIES, SCENES, Known, Scene

CHANCES = st.floats(0.0, 1.0, exclude_max=True) | st.just(1 - 2**-53)


@pytest.mark.parametrize("policy", POLICIES)
@given(scene=SCENES, chances=st.lists(CHANCES, min_size=2, max_size=2))
def test_an_agent_that_may_receives_the_message_or_the_reason_is_named(
    policy: str, scene: Scene, chances: list[float]
) -> None:
    followed = POLICIES[policy]()
    registry = AgentRegistry(max_agents=100, watchers=[followed])
    scene.fill(registry)

    receiver = route(
        scene.message,
        registry,
        random=iter(chances).__next__,
        choose=followed.policy,
        rule=scene.rule,
    )

    expected = scene.outcome()
    if isinstance(expected, FailureReason):
        assert receiver is expected
    else:
        assert isinstance(receiver, Agent)
        assert receiver.agent_id in expected
        assert receiver is registry[receiver.agent_id]


@pytest.mark.parametrize("policy", ["random", "least_outstanding"])
@given(scene=SCENES)
def test_every_agent_that_may_receive_a_message_can_be_chosen(policy: str, scene: Scene) -> None:
    expected = scene.outcome()
    if isinstance(expected, FailureReason):
        return
    followed = POLICIES[policy]()
    registry = AgentRegistry(max_agents=100, watchers=[followed])
    scene.fill(registry)
    chosen = set()
    for share in range(len(expected)):
        chances = iter([(share + 0.5) / len(expected), 0.0])
        receiver = route(
            scene.message,
            registry,
            random=chances.__next__,
            choose=followed.policy,
            rule=scene.rule,
        )
        assert isinstance(receiver, Agent)
        chosen.add(receiver.agent_id)
    assert chosen == expected


def test_a_policy_is_not_asked_where_there_is_no_choice() -> None:
    def asked(message: ChatMessage, agents: Agents) -> Agent:
        raise AssertionError(message, agents)

    registry = registry_with("a", "b")
    nobody = route(chat("a", "sums"), registry, random=Random(1).random, choose=asked)
    assert nobody is FailureReason.NO_CAPABLE_AGENT
    addressed = chat("a", receiver_id="b")
    for rule in (ReceiverRule.PREFER, ReceiverRule.REQUIRE):
        receiver = route(addressed, registry, random=Random(1).random, choose=asked, rule=rule)
        assert receiver is registry["b"]


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (None, FailureReason.NO_CAPABLE_AGENT),
        (REJECTED := Rejected(RejectReason.POLICY_ERROR, "it failed"), REJECTED),
    ],
)
def test_a_policy_may_find_that_nobody_should_have_a_message_or_reject_it(
    verdict: Rejected | None, outcome: object
) -> None:
    registry = registry_with("a", "b")
    result = route(chat("a"), registry, random=Random(1).random, choose=lambda *_: verdict)
    assert result is outcome


@pytest.mark.parametrize("sender_id", ["agent_0", "agent_5", "agent_10", UNKNOWN_SENDER])
@pytest.mark.parametrize("required", [(), ("sums",), ("poems", "sums")])
def test_every_candidate_has_the_same_chance(sender_id: str, required: tuple[str, ...]) -> None:
    registry = registry_with("nobody in particular") if required else AgentRegistry(100)
    for number in range(11):
        register(registry, f"agent_{number}", capabilities=("poems", "sums", "tables"))
    # Places move when agents come and go; chances must not.
    disconnect(registry, "agent_3")
    register(registry, "agent_3")
    random = Random(20_250_101).random

    receivers = [route(chat(sender_id, *required), registry, random=random) for _ in range(20_000)]

    chosen = [receiver.agent_id for receiver in receivers if isinstance(receiver, Agent)]
    assert len(chosen) == len(receivers)
    assert set(chosen) == {*online(registry)} - {sender_id, "nobody in particular"}
    assert_even(chosen, len(set(chosen)))


def test_an_agent_that_never_named_its_capabilities_has_none() -> None:
    for capabilities in (None, ()):
        scene = Scene({"a": Known(is_online=True, capabilities=capabilities)}, "b")
        registry = AgentRegistry(max_agents=10)
        scene.fill(registry)
        assert route(chat("b"), registry, random=lambda: 0.0) is registry["a"]
        reason = route(chat("b", "sums"), registry, random=lambda: 0.0)
        assert reason is FailureReason.NO_CAPABLE_AGENT
