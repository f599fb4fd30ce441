"""Put together what chooses receivers: the policy, and what it must be told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.routing.consistent_hash import ConsistentHash
from broker.core.routing.least_outstanding import LeastOutstanding
from broker.core.routing.policy import Policy, choose_at_random
from broker.core.routing.receivers import ReceiverRule
from broker.core.routing.unanswered import Unanswered
from broker.router.answers import Answers
from broker.router.guarded_policy import GuardedPolicy
from broker.router.rules import Routing
from broker.telemetry.tally import MessageTally

if TYPE_CHECKING:
    from broker.core.registry import Watcher


@dataclass(frozen=True, kw_only=True)
class RoutingOptions:
    """How receivers are to be chosen.

    Attributes:
        policy: The name of one of the broker's policies, or one of the user's own.
        answer_timeout: Seconds after which no answer is waited for any more.
        max_unanswered: How many answers are waited for at once.
    """

    policy: str | Policy = "random"
    receiver: ReceiverRule = ReceiverRule.IGNORE
    answer_timeout: float = 300.0
    max_unanswered: int = 100_000


AT_RANDOM = RoutingOptions()
"""The default."""


class Choosing:
    """What chooses receivers.

    Attributes:
        policy: What chooses among the agents.
        policy_name: One of the broker's names, or where a policy of the user's own is defined.
        is_own: Whether it is one of the user's own.
        watchers: Who must be told which agents come and go.
        answers: Who must be told what is asked and answered; None if nobody wants to know.

    Args:
        clock: Returns seconds, from any start.
    """

    def __init__(
        self, options: RoutingOptions, tally: MessageTally, clock: Callable[[], float]
    ) -> None:
        self._unanswered = Unanswered(options.max_unanswered, options.answer_timeout)
        self._least_outstanding: LeastOutstanding | None = None
        self.watchers: Sequence[Watcher] = ()
        self.answers: Answers | None = None
        self.is_own = not isinstance(options.policy, str)
        self.policy = policy = self._policy(options.policy, clock)
        self.policy_name = options.policy if isinstance(options.policy, str) else _name(policy)
        if policy is choose_at_random:
            self.routing = Routing(receiver=options.receiver)
            return
        guarded = GuardedPolicy(policy, tally, is_trusted=not self.is_own)
        if guarded.watches_agents:
            self.watchers = (guarded,)
        if guarded.watches_answers:
            self.watchers = (*self.watchers, self._unanswered)
            self.answers = Answers(
                self._unanswered,
                answered=guarded.answered,
                given_up=guarded.unanswered,
                seconds=tally.answer_seconds,
                clock=clock,
            )
        self.routing = Routing(guarded, options.receiver, self.answers is not None)

    def _policy(self, policy: str | Policy, clock: Callable[[], float]) -> Policy:
        match policy:
            case "random":
                return choose_at_random
            case "consistent_hash":
                return ConsistentHash()
            case "least_outstanding":
                self._least_outstanding = LeastOutstanding(self._unanswered, clock)
                return self._least_outstanding
            case str():
                raise ValueError(f"there is no policy {policy!r}")
        return policy

    @property
    def unanswered_count(self) -> int:
        """How many answers are waited for."""
        return len(self._unanswered)

    def outstanding(self, agent_id: str) -> int:
        """Return how many messages an agent has not answered, as far as that is followed."""
        return self._unanswered.ahead_of(agent_id).messages

    def answer_time(self, agent_id: str) -> float | None:
        """Return in how many seconds an agent answers, as far as that is known."""
        known = self._least_outstanding
        return None if known is None else known.answer_time(agent_id)


def _name(policy: Policy) -> str:
    """Return where the function is defined, or the class of the object."""
    defined = policy if hasattr(policy, "__qualname__") else type(policy)
    return f"{defined.__module__}:{defined.__qualname__}"
