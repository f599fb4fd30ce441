"""Who is online and can do what, who sends what to whom, and what must come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from broker.core.agent import Agent
from broker.core.messages import UNKNOWN_SENDER, ChatMessage
from broker.core.registry import AgentRegistry
from broker.core.routing.consistent_hash import ConsistentHash
from broker.core.routing.failure import FailureReason
from broker.core.routing.least_outstanding import LeastOutstanding
from broker.core.routing.policy import Policy, choose_at_random
from broker.core.routing.receivers import ReceiverRule
from broker.core.routing.unanswered import Unanswered
from tests.core.registries import chat, disconnect, register

AGENT_IDS = st.sampled_from("abcde")
CAPABILITIES = ("poems", "sums", "tables")
SOME_CAPABILITIES = st.sets(st.sampled_from(CAPABILITIES)).map(lambda some: tuple(sorted(some)))


@dataclass(frozen=True)
class Known:
    """What is known of an agent."""

    is_online: bool
    capabilities: tuple[str, ...] | None  # None was never said


@dataclass(frozen=True)
class Scene:
    """A message, and the agents at that moment."""

    agents: dict[str, Known]
    sender_id: str
    receiver_id: str | None = None
    required: tuple[str, ...] = ()
    rule: ReceiverRule = ReceiverRule.IGNORE

    @property
    def message(self) -> ChatMessage:
        return chat(self.sender_id, *self.required, receiver_id=self.receiver_id)

    def can(self, agent_id: str) -> bool:
        return {*self.required} <= {*(self.agents[agent_id].capabilities or ())}

    def outcome(self) -> set[str] | FailureReason:
        """Say in plain words who may receive the message, or why nobody may."""
        online = {agent_id for agent_id, agent in self.agents.items() if agent.is_online}
        others = {agent_id for agent_id in online - {self.sender_id} if self.can(agent_id)}
        receiver_id = self.receiver_id if self.rule is not ReceiverRule.IGNORE else None
        if receiver_id in others:
            return {receiver_id}
        if receiver_id and self.rule is ReceiverRule.REQUIRE:
            if receiver_id in online - {self.sender_id}:
                return FailureReason.NO_CAPABLE_AGENT
            return FailureReason.RECEIVER_OFFLINE
        return others or self._why_nobody(online)

    def _why_nobody(self, online: set[str]) -> FailureReason:
        if online == {self.sender_id} and self.can(self.sender_id):
            return FailureReason.ONLY_SENDER_ONLINE
        if self.required:
            return FailureReason.NO_CAPABLE_AGENT
        return FailureReason.NO_AGENT_ONLINE

    def fill(self, registry: AgentRegistry) -> None:
        for agent_id, agent in self.agents.items():
            register(registry, agent_id, capabilities=agent.capabilities)
            if not agent.is_online:
                disconnect(registry, agent_id)


SCENES = st.builds(
    Scene,
    agents=st.dictionaries(
        AGENT_IDS, st.builds(Known, st.booleans(), st.none() | SOME_CAPABILITIES)
    ),
    sender_id=AGENT_IDS | st.just(UNKNOWN_SENDER),
    receiver_id=st.none() | AGENT_IDS | st.just("") | st.just("stranger"),
    required=SOME_CAPABILITIES,
    rule=st.sampled_from(ReceiverRule),
)


@dataclass
class Followed:
    """A policy that is told which agents come and go, as the broker tells it."""

    policy: Policy
    others: Sequence[Any] = field(default_factory=tuple)

    def arrived(self, agent: Agent) -> None:
        self._tell("arrived", agent)

    def departed(self, agent_id: str) -> None:
        self._tell("departed", agent_id)

    def _tell(self, method: str, *news: object) -> None:
        for one in (self.policy, *self.others):
            getattr(one, method, lambda *_: None)(*news)


def _least_outstanding() -> Followed:
    unanswered = Unanswered(most=1_000, max_age=300.0)
    return Followed(LeastOutstanding(unanswered, lambda: 0.0), (unanswered,))


POLICIES: dict[str, Callable[[], Followed]] = {
    "random": lambda: Followed(choose_at_random),
    "least_outstanding": _least_outstanding,
    "consistent_hash": lambda: Followed(ConsistentHash()),
}
