"""The filters leave exactly the agents that may receive a message."""

from hypothesis import example, given

from broker.core.agent import Agent
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from broker.core.routing.failure import FailureReason
from broker.core.routing.receivers import ReceiverRule, receivers
from tests.core.registries import chat, register, registry_with
from tests.core.routing.scenes import SCENES, Known, Scene

ONLINE, OFFLINE = Known(is_online=True, capabilities=None), Known(False, ())


def found(scene: Scene) -> set[str] | FailureReason:
    registry = AgentRegistry(max_agents=100)
    scene.fill(registry)
    result = receivers(scene.message, registry, scene.rule, lambda: 0.0)
    if isinstance(result, Agent):
        return {result.agent_id}
    if isinstance(result, FailureReason):
        return result
    listed = [agent.agent_id for agent in result]
    assert len(result) == len(listed) == len(set(listed))
    for agent_id in (*scene.agents, scene.sender_id, "stranger", ""):
        agent = result.get(agent_id)
        assert (agent is None) == (agent_id not in listed)
        assert agent is None or agent is registry[agent_id]
    return set(listed)


@given(SCENES)
@example(Scene({"a": ONLINE}, "a"))
@example(Scene({"a": ONLINE}, "a", required=("sums",)))
@example(Scene({"a": ONLINE}, "a", receiver_id="a", rule=ReceiverRule.REQUIRE))
@example(Scene({"a": ONLINE, "b": ONLINE}, "a", receiver_id="a", rule=ReceiverRule.PREFER))
@example(Scene({"a": ONLINE, "b": OFFLINE}, "c", receiver_id="b", rule=ReceiverRule.PREFER))
@example(Scene({"a": ONLINE, "b": Known(True, ("sums",))}, "b", required=("sums",)))
@example(Scene({"a": ONLINE, "b": Known(True, ("poems", "sums"))}, "b", None, ("poems", "sums")))
def test_the_filters_leave_exactly_the_agents_that_may_receive_the_message(scene: Scene) -> None:
    assert found(scene) == scene.outcome()


def test_an_empty_receiver_id_names_nobody() -> None:
    scene = Scene({"a": ONLINE, "b": ONLINE}, "c", receiver_id="", rule=ReceiverRule.REQUIRE)
    assert found(scene) == {"a", "b"}


def test_the_sender_is_left_out_of_a_list_by_its_place_in_it() -> None:
    registry = registry_with("plain")
    for number in range(5):
        register(registry, f"able{number}", capabilities=("sums",))
    for number in range(5):
        result = receivers(
            chat(f"able{number}", "sums"), registry, ReceiverRule.IGNORE, lambda: 0.0
        )
        assert isinstance(result, Agents)
        assert {agent.agent_id for agent in result} == {
            f"able{other}" for other in range(5) if other != number
        }
