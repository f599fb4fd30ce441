"""A policy among agents that come and go, messages, and answers."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from broker.core.agent import Agent
from broker.core.messages import ChatMessage
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from broker.core.routing.policy import Policy
from broker.core.routing.receivers import ReceiverRule
from broker.core.routing.route import route
from broker.testing.samples import chat_message

_AGENT_IDS = tuple(f"agent{number}" for number in range(6))
_AGENTS = st.sampled_from(_AGENT_IDS)
_CAPABILITIES = st.sets(st.sampled_from(["poems", "sums", "tables"])).map(sorted)
_METHODS = ("arrived", "departed", "answered", "unanswered")

type _Seen = tuple[object, ...]


class PolicyMachine(RuleBasedStateMachine):
    """Routes messages by a policy, and tells it what the broker would tell it.

    Args:
        make: Returns the policy, one that has been told nothing yet.
        fields: Draws more fields of a message.
        names: Draws the names of agents.
        may_refuse: Whether it may choose nobody.
    """

    def __init__(
        self,
        make: Callable[[], Policy],
        fields: st.SearchStrategy[Mapping[str, Any]],
        names: st.SearchStrategy[str],
        *,
        may_refuse: bool,
    ) -> None:
        super().__init__()
        self._policy = make()
        self._fields = fields
        self._names = names
        self._may_refuse = may_refuse
        self._registry = AgentRegistry(max_agents=len(_AGENT_IDS), watchers=[self])
        self._asked: list[str] = []  # the receiver of each message without an answer
        _require(callable(self._policy), f"{self._policy!r} is no policy: it cannot be called")
        for name in _METHODS:
            method = getattr(self._policy, name, None)
            what = f"`{name}` of the policy would be called, but it is no method"
            _require(method is None or callable(method), what)

    def teardown(self) -> None:
        """Let all agents leave, for an object that is used in the next example as well."""
        for agent_id in _AGENT_IDS:
            with suppress(Exception):  # a law of its own, for which `an_agent_leaves` stands
                self._registry.disconnect(agent_id, self._registry.clock.next())

    def arrived(self, agent: Agent) -> None:
        """Tell the policy that an agent has come online."""
        self._tell("arrived", agent)

    def departed(self, agent_id: str) -> None:
        """Tell the policy that an agent has gone; nobody waits for its answers any more."""
        self._asked = [asked for asked in self._asked if asked != agent_id]
        self._tell("departed", agent_id)

    @initialize(agent_ids=st.lists(_AGENTS, unique=True), data=st.data())
    def agents_are_there(self, agent_ids: list[str], data: st.DataObject) -> None:
        """Let agents come, so that messages find receivers from the beginning."""
        for agent_id in agent_ids:
            self.an_agent_registers(agent_id, None, data)

    @rule(agent_id=_AGENTS, capabilities=st.none() | _CAPABILITIES, data=st.data())
    def an_agent_registers(
        self, agent_id: str, capabilities: list[str] | None, data: st.DataObject
    ) -> None:
        """Let an agent come, or be called otherwise, or be able to do something else."""
        name = data.draw(self._names, label="its name")
        version = self._registry.clock.next()
        able = None if capabilities is None else tuple(capabilities)
        self._registry.register(agent_id, name, version, able)

    @rule(agent_id=_AGENTS)
    def an_agent_leaves(self, agent_id: str) -> None:
        """Let an agent go, if it is there."""
        self._registry.disconnect(agent_id, self._registry.clock.next())

    @rule(
        fields=st.fixed_dictionaries(
            {
                "sender_id": _AGENTS | st.sampled_from(["client", None]),
                "receiver_id": st.none() | _AGENTS,
                "required_capabilities": st.just([]) | _CAPABILITIES,
            }
        ),
        receiver_rule=st.sampled_from(ReceiverRule),
        seed=st.integers(0, 1_000_000),
        data=st.data(),
    )
    def a_message_is_routed(
        self, fields: dict[str, Any], receiver_rule: ReceiverRule, seed: int, data: st.DataObject
    ) -> None:
        """Let the policy choose the receiver of a message."""
        chosen = route(
            chat_message(**{**fields, **data.draw(self._fields, label="more fields")}),
            self._registry,
            random=Random(seed).random,
            choose=self._choose,
            rule=receiver_rule,
        )
        if isinstance(chosen, Agent):
            self._registry.count_routed(chosen.agent_id)
            self._asked.append(chosen.agent_id)

    @precondition(lambda self: self._asked)
    @rule(number=st.integers(0, 100), seconds=st.floats(0, 600))
    def an_answer_comes(self, number: int, seconds: float) -> None:
        """Tell the policy that an agent has answered."""
        self._tell("answered", self._asked.pop(number % len(self._asked)), seconds)

    @precondition(lambda self: self._asked)
    @rule()
    def no_answer_comes(self) -> None:
        """Tell the policy that the oldest message is too old to be answered."""
        self._tell("unanswered", self._asked.pop(0))

    def _choose(self, message: ChatMessage, agents: Agents) -> Agent | None:
        before = _seen(message, self._registry)
        chosen = self._policy(message, agents)
        changed = "the policy changed an agent or the message, which are the broker's"
        _require(_seen(message, self._registry) == before, changed)
        may_receive = f"{', '.join(agent.agent_id for agent in agents)} may receive the message"
        if chosen is None:
            _require(self._may_refuse, f"the policy chose nobody, though {may_receive}")
            return None
        _require(isinstance(chosen, Agent), f"the policy chose {chosen!r}, which is no agent")
        receiver = agents.get(chosen.agent_id)
        _require(
            receiver is not None, f"the policy chose {chosen.agent_id}, but only {may_receive}"
        )
        return receiver

    def _tell(self, name: str, *news: object) -> None:
        method = getattr(self._policy, name, None)
        if method is not None:
            method(*news)


def _seen(message: ChatMessage, registry: AgentRegistry) -> list[_Seen]:
    agents = [
        (agent, agent.agent_id, agent.agent_name, agent.place, agent.routed, *agent.capabilities)
        for agent in registry
    ]
    fields = {name: bytes(value) for name, value in message.fields.items()}
    return [(fields,), *agents]


def _require(holds: bool, otherwise: str) -> None:
    # Assertions say nothing under `python -O`.
    if not holds:
        raise AssertionError(otherwise)
