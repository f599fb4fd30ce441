"""One conversation, one agent."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.agent import Agent
from broker.core.messages import ChatMessage
from broker.core.registry import AgentRegistry
from broker.core.routing.consistent_hash import ConsistentHash
from broker.core.routing.route import route
from tests.core.registries import chat, disconnect, register
from tests.core.routing.scenes import Followed


class Broker:
    """A registry, and the policy that follows it."""

    def __init__(self, agents: Sequence[str] = ()) -> None:
        followed = Followed(ConsistentHash())
        self.policy = followed.policy
        self.registry = AgentRegistry(max_agents=100_000, watchers=[followed])
        for agent_id in agents:
            register(self.registry, agent_id)

    def receiver(self, message: ChatMessage) -> str:
        agent = route(message, self.registry, random=_no_chance, choose=self.policy)
        assert isinstance(agent, Agent)
        return agent.agent_id


def _no_chance() -> float:
    raise AssertionError("a hash leaves nothing to chance")


AGENTS = [f"agent{number}" for number in range(20)]
CONVERSATIONS = [f"c{number}" for number in range(500)]


def test_a_conversation_stays_with_its_agent_whichever_sender_speaks() -> None:
    broker = Broker(AGENTS)
    for conversation in CONVERSATIONS:
        receivers = {
            broker.receiver(chat(sender, conversation_id=conversation)) for sender in ("x", "y")
        }
        assert len(receivers) == 1
    receivers = {broker.receiver(chat("x", conversation_id=one)) for one in CONVERSATIONS}
    assert receivers == {*AGENTS}


@pytest.mark.parametrize("fields", [{}, {"conversation_id": ""}])
def test_without_a_conversation_the_messages_of_a_sender_are_one(fields: dict[str, str]) -> None:
    broker = Broker(AGENTS)
    receivers = [
        {broker.receiver(chat(f"s{number}", message_id=str(each), **fields)) for each in range(3)}
        for number in range(200)
    ]
    assert {len(one) for one in receivers} == {1}
    assert set.union(*receivers) == {*AGENTS}


def test_when_an_agent_leaves_only_its_conversations_move_and_they_come_back() -> None:
    broker = Broker(AGENTS)
    messages = [chat("x", conversation_id=one) for one in CONVERSATIONS]
    before = [broker.receiver(message) for message in messages]
    disconnect(broker.registry, "agent3")
    after = [broker.receiver(message) for message in messages]
    assert {old for old, new in zip(before, after, strict=True) if old != new} == {"agent3"}
    register(broker.registry, "agent3")
    assert [broker.receiver(message) for message in messages] == before


@given(
    order=st.permutations(AGENTS[:8]),
    left=st.sets(st.sampled_from(AGENTS[8:12])),
    sender=st.sampled_from(AGENTS[:9]),
    required=st.sampled_from([(), ("sums",), ("poems", "sums")]),
)
def test_brokers_that_know_the_same_agents_choose_alike(
    order: list[str], left: set[str], sender: str, required: tuple[str, ...]
) -> None:
    here, there = Broker(), Broker()
    for broker, arrivals in ((here, AGENTS[:8]), (there, [*order, *left])):
        for agent_id in arrivals:
            able = ("poems", "sums") if agent_id[-1] in "024" else ("sums",)
            register(broker.registry, agent_id, capabilities=able)
    for agent_id in left:
        disconnect(there.registry, agent_id)
    for conversation in CONVERSATIONS[:20]:
        message = chat(sender, *required, conversation_id=conversation)
        assert here.receiver(message) == there.receiver(message) != sender


def test_few_able_agents_among_many_share_the_conversations() -> None:
    broker = Broker([f"unable{number}" for number in range(2_000)])
    able = {"able0", "able1", "able2"}
    for agent_id in sorted(able):
        register(broker.registry, agent_id, capabilities=("sums",))
    messages = [chat("x", "sums", conversation_id=one) for one in CONVERSATIONS]
    before = [broker.receiver(message) for message in messages]
    shares = Counter(before)
    assert shares.keys() == able
    assert min(shares.values()) > len(messages) / 5

    disconnect(broker.registry, "able1")
    after = [broker.receiver(message) for message in messages]
    assert {old for old, new in zip(before, after, strict=True) if old != new} == {"able1"}


def test_an_agent_that_learns_something_else_keeps_its_conversations() -> None:
    broker = Broker(AGENTS)
    messages = [chat("x", conversation_id=one) for one in CONVERSATIONS]
    before = [broker.receiver(message) for message in messages]
    for agent_id in AGENTS:
        register(broker.registry, agent_id, capabilities=("sums",))
    assert [broker.receiver(message) for message in messages] == before
