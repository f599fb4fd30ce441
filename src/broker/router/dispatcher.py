"""Dispatch each delivery: decide it, apply what the decision changes, record it."""

from collections.abc import Callable
from time import time_ns

import structlog
from msgspec.structs import replace

from broker.amqp import Delivery, Refusals, Settlement
from broker.core.hops import HopCounter
from broker.core.last_messages import LastMessages
from broker.core.messages import RegistryEvent, Rejected, RejectReason, ServerAvailable
from broker.core.registry import AgentRegistry
from broker.router.answers import Answers
from broker.router.decide import Decider
from broker.router.decision import Decision, rejected, settlement
from broker.router.holding import Holding
from broker.router.replication import Replication
from broker.router.rules import AT_RANDOM, Limits, Routing, Topology
from broker.telemetry.tally import MessageTally

_FAILED = rejected(
    Rejected(RejectReason.INTERNAL_ERROR, "the broker failed on this message; see its log")
)

type Trace = Callable[[Delivery, Settlement, int], Settlement]
"""Records a settlement, given when it began to be decided in nanoseconds since the epoch, and
returns what is carried out in its place. Never raises."""

_log = structlog.get_logger(__name__)


class Dispatcher:
    """Turns deliveries into settlements, one after the other: each sees what the last one changed.

    Attributes:
        hops: The messages whose answers are counted.

    Args:
        agent_registered: Called after a registration by queue.
        unknown_sender: Called with the id of a sender that the registry lacks.
        server_available: Called when a server advertises itself.
        answers: Follows which messages are answered, when the policy wants to know.
        holding: Says how long messages wait that nobody can receive; without it, none waits.
        last_messages: Told of each message of a known agent.
    """

    def __init__(
        self,
        *,
        topology: Topology,
        registry: AgentRegistry,
        tally: MessageTally,
        broker_id: str,
        limits: Limits,
        refusals: Refusals,
        agent_registered: Callable[[], None],
        unknown_sender: Callable[[str], None],
        server_available: Callable[[ServerAvailable], None],
        routing: Routing = AT_RANDOM,
        answers: Answers | None = None,
        holding: Holding | None = None,
        last_messages: LastMessages | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._registry = registry
        self._tally = tally
        self._answers = answers
        self._holding = holding or Holding(0)
        self._unknown_sender = unknown_sender
        self._last_messages = last_messages or LastMessages(
            lambda: registry.known_count, registry.__contains__
        )
        self._replication = Replication(
            registry,
            agent_registered=agent_registered,
            server_available=server_available,
            answers_seen=None if answers is None else answers.heard,
        )
        self.hops = HopCounter()
        self.decider = Decider(
            topology=topology,
            registry=registry,
            hops=self.hops,
            broker_id=broker_id,
            limits=limits,
            refusals=refusals,
            routing=routing,
            holding=self._holding,
        )
        self._trace = trace

    def dispatch(self, delivery: Delivery) -> Settlement:
        """Return what is decided about a delivery, once it is applied and recorded.

        Never raises: whatever a message does to the broker, its neighbours are routed.
        """
        began_at = 0 if self._trace is None else time_ns()
        try:
            decision = self.decider.decide(delivery)
            self._apply(decision)
        except Exception:  # noqa: BLE001 - its neighbours must be routed
            _log.exception("decision_failed", queue=delivery.source)
            decision = _FAILED
        return self._record(delivery, decision, began_at)

    def _apply(self, decision: Decision) -> None:
        if decision.receiver_id is not None:
            self._registry.count_routed(decision.receiver_id)
        if decision.held is not None:
            self._holding.note(decision.held)
        if decision.hop is not None:
            self.hops.remember(decision.hop)
        if decision.sender_id is not None:
            self._last_messages.note(decision.sender_id)
        if decision.unknown_sender is not None:
            self._unknown_sender(decision.unknown_sender)
        if decision.event is not None:
            self._replication.apply(decision.event)
        if self._answers is not None:
            self._answers.follow(decision)

    def _record(self, delivery: Delivery, decision: Decision, began_at: int) -> Settlement:
        verdict = decision.verdict
        outcome = None if isinstance(verdict, Rejected) else verdict
        if not decision.is_echo:
            self._tally.decided(
                delivery.source, decision.message_type, outcome, redelivered=delivery.redelivered
            )
        decided = settlement(delivery, decision, self.decider.dead_letters)
        seen = None if self._answers is None else self._answers.to_tell()
        if seen is not None:
            event = RegistryEvent(seen, self._registry.clock.upcoming())
            decided = replace(decided, told=self.decider.announcement(event))
        return decided if self._trace is None else self._trace(delivery, decided, began_at)
