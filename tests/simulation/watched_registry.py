"""The registry under the eyes of a plain dict, which says who may receive a message."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from broker.core.agent import Agent
from broker.core.messages import ChatMessage, Rejected, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.core.routing.failure import FailureReason
from broker.core.routing.receivers import ReceiverRule
from broker.core.routing.route import route
from tests.simulation.trace import Trace


class _Truth(NamedTuple):
    """What is true of an agent."""

    is_online: bool = False
    capabilities: frozenset[str] = frozenset()


class WatchedRegistry(AgentRegistry):
    """Notes in the trace when a choice is wrong."""

    def __init__(self, trace: Trace, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._trace = trace
        self._truth: dict[str, _Truth] = {}
        self._before: Mapping[str, _Truth] | None = None
        """The truth before the update that is being applied: then either will do."""

    def judge(
        self,
        message: ChatMessage,
        rule: ReceiverRule,
        chosen: Agent | FailureReason | Rejected,
    ) -> None:
        """Note what is wrong with a choice."""
        receiver_id = message.receiver_id if rule is not ReceiverRule.IGNORE else None
        surely = {agent_id for agent_id in self._truth if self._may_receive(message, agent_id, all)}
        perhaps = {
            agent_id for agent_id in self._truth if self._may_receive(message, agent_id, any)
        }
        is_required = bool(receiver_id) and rule is ReceiverRule.REQUIRE
        if is_required:
            surely.intersection_update({receiver_id})
            perhaps.intersection_update({receiver_id})
        elif receiver_id in surely:
            perhaps = {receiver_id}
        wrong = f"a message of {message.sender_id} to {receiver_id} with {rule.value}"
        if isinstance(chosen, Agent):
            if chosen.agent_id not in perhaps:
                self._trace.violation(f"{chosen.agent_id} was chosen for {wrong}")
        elif surely:
            self._trace.violation(f"nobody was found for {wrong}, but {sorted(surely)} may")
        elif self._before is None and chosen is not self._reason(message, is_required=is_required):
            self._trace.violation(f"{chosen} is not why nobody was found for {wrong}")

    def _may_receive(self, message: ChatMessage, agent_id: str, how_many: Any) -> bool:
        states = [self._truth[agent_id]]
        if self._before is not None:
            states.append(self._before.get(agent_id, _Truth()))
        return agent_id != message.sender_id and bool(
            how_many(
                state.is_online and state.capabilities.issuperset(message.required_capabilities)
                for state in states
            )
        )

    def _reason(self, message: ChatMessage, *, is_required: bool) -> FailureReason:
        """Return why nobody may receive a message, when nobody may."""
        online = {agent_id for agent_id, truth in self._truth.items() if truth.is_online}
        if is_required:
            if message.receiver_id in online - {message.sender_id}:
                return FailureReason.NO_CAPABLE_AGENT
            return FailureReason.RECEIVER_OFFLINE
        if online == {message.sender_id} and self._truth[message.sender_id].capabilities.issuperset(
            message.required_capabilities
        ):
            return FailureReason.ONLY_SENDER_ONLINE
        if message.required_capabilities:
            return FailureReason.NO_CAPABLE_AGENT
        return FailureReason.NO_AGENT_ONLINE

    def register(self, agent_id: str, *details: Any) -> None:
        super().register(agent_id, *details)
        _, _, capabilities = details
        self._learn(agent_id, is_online=True, capabilities=capabilities)

    def disconnect(self, agent_id: str, *details: Any) -> None:
        super().disconnect(agent_id, *details)
        self._learn(agent_id, is_online=False)

    def applying(self, update: StatusUpdate, *details: Any) -> Iterator[Any]:
        self._before = dict(self._truth)
        if update.is_full:
            for agent_id in self._truth:
                self._learn(agent_id, is_online=False)
        for status in update.agents.values():
            self._learn(
                status.agent_id, is_online=status.is_online, capabilities=status.capabilities
            )
        yield from super().applying(update, *details)
        self._before = None

    def _learn(
        self, agent_id: str, *, is_online: bool, capabilities: tuple[str, ...] | None = None
    ) -> None:
        known = self._truth.get(agent_id, _Truth()).capabilities
        self._truth[agent_id] = _Truth(
            is_online, known if capabilities is None else frozenset(capabilities)
        )


def watched_route(
    message: ChatMessage,
    registry: AgentRegistry,
    *,
    rule: ReceiverRule = ReceiverRule.IGNORE,
    **how: Any,
) -> Agent | FailureReason | Rejected:
    """Route a message, and have the registry judge it."""
    chosen = route(message, registry, rule=rule, **how)
    cast("WatchedRegistry", registry).judge(message, rule, chosen)
    return chosen
