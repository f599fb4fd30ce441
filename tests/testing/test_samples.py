import pytest

from broker.core.messages import ChatMessage
from broker.testing import candidates, chat_message


def test_a_message_is_as_the_broker_decodes_it() -> None:
    message = chat_message(priority="high", required_capabilities=["tables", "sums"])
    assert isinstance(message, ChatMessage)
    assert message.text("priority") == "high"
    assert message.required_capabilities == ("sums", "tables")
    assert message.sender_id == "sender"
    assert chat_message(sender_id=None).sender_id == "unknown"


@pytest.mark.parametrize(
    "fields", [{"message_type": "ERROR"}, {"sender_id": 5}, {"required_capabilities": "sums"}]
)
def test_what_is_no_message_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no chat message"):
        chat_message(**fields)


def test_candidates_are_agents_that_may_receive_a_message() -> None:
    agents = candidates("a", "b", "c")
    assert [agent.agent_id for agent in agents] == ["a", "b", "c"]
    assert all(agent.is_online and agent.agent_name == agent.agent_id for agent in agents)
    assert agents.get("b") is list(agents)[1]
    assert agents.get("x") is None
    chosen = [candidates("a", "b", "c", seed=7).random().agent_id for _ in range(3)]
    assert len(set(chosen)) == 1, "the same chance each time"
    assert {candidates("a", "b", "c", seed=seed).random().agent_id for seed in range(30)} == {
        *"abc"
    }
