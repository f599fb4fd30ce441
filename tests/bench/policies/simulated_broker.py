"""One of the brokers of a simulation: all that chooses receivers is the real code."""

from collections.abc import Callable, Iterable

from broker.core.agent import Agent
from broker.core.messages import Answer, AnswersSeen, ChatMessage
from broker.core.registry import AgentRegistry
from broker.core.routing.policy import Policy
from broker.core.routing.route import route
from broker.router.choosing import Choosing, RoutingOptions
from broker.router.decision import Decision
from broker.telemetry.tally import MessageOutcome, MessageTally


class SimulatedBroker:
    """Routes messages and follows answers, without queues.

    Args:
        policy: By its name, or one of the simulation's own.
        answer_timeout: Seconds after which no answer is waited for any more.
        clock: Returns the simulated seconds.
        random: Returns a float in [0.0, 1.0).
        tell: Is given what the other brokers are to be told.
    """

    def __init__(
        self,
        policy: str | Policy,
        agent_ids: Iterable[str],
        *,
        answer_timeout: float,
        clock: Callable[[], float],
        random: Callable[[], float],
        tell: Callable[["SimulatedBroker", AnswersSeen], None],
    ) -> None:
        options = RoutingOptions(policy=policy, answer_timeout=answer_timeout)
        self._choosing = Choosing(options, MessageTally(), clock)
        self._registry = AgentRegistry(100_000, watchers=self._choosing.watchers)
        self._random = random
        self._tell = tell
        for agent_id in agent_ids:
            self.registered(agent_id)

    def registered(self, agent_id: str) -> None:
        self._registry.register(agent_id, agent_id, self._registry.clock.next())

    def disconnected(self, agent_id: str) -> None:
        self._registry.disconnect(agent_id, self._registry.clock.next())

    def route(self, message: ChatMessage, message_id: str) -> str:
        """Return the id of the agent that a message is routed to."""
        routing = self._choosing.routing
        chosen = route(message, self._registry, random=self._random, choose=routing.choose)
        if not isinstance(chosen, Agent):
            raise TypeError(chosen)
        agent_id = chosen.agent_id
        self._registry.count_routed(agent_id)
        self._follow(Decision("TEXT", MessageOutcome.ROUTED, receiver_id=agent_id, asks=message_id))
        return agent_id

    def answered(self, agent_id: str, message_id: str) -> None:
        """Take an answer: to a message that was routed here, or by another broker."""
        answer = Answer(agent_id, message_id)
        self._follow(Decision("REPLY", MessageOutcome.ROUTED, answer=answer))

    def heard(self, seen: AnswersSeen) -> None:
        """Take what another broker tells."""
        if self._choosing.answers is not None:
            self._choosing.answers.heard(seen)

    def _follow(self, decision: Decision) -> None:
        answers = self._choosing.answers
        if answers is None:
            return
        answers.follow(decision)
        seen = answers.to_tell()
        if seen is not None:
            self._tell(self, seen)
