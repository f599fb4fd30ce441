"""A policy of somebody else's, of whose mistakes no message but its own must know."""

from collections.abc import Callable
from time import perf_counter
from traceback import extract_tb
from typing import Any

import structlog

from broker.core.agent import Agent
from broker.core.messages import ChatMessage, Rejected, RejectReason
from broker.core.routing.agents import Agents
from broker.core.routing.policy import Policy
from broker.telemetry.tally import MessageTally

_SLOW = 0.01
"""Seconds that no message should have to wait for a decision about another."""
_LOG_INTERVAL = 60.0

_log = structlog.get_logger(__name__)


class GuardedPolicy:
    """Calls a policy, measures how long it takes, and sees that it chooses one of the agents.

    Never raises: it counts what the policy raises, and logs it once a minute.

    Args:
        is_trusted: Whether it is one of the broker's, which choose one of the agents by law.
    """

    def __init__(
        self,
        policy: Policy,
        tally: MessageTally,
        clock: Callable[[], float] = perf_counter,
        *,
        is_trusted: bool = False,
    ) -> None:
        self._policy = policy
        self._is_trusted = is_trusted
        self._tally = tally
        self._clock = clock
        self._took = tally.policy_seconds.observe
        self._log_errors_from = self._log_slowness_from = float("-inf")
        self._arrived = getattr(policy, "arrived", None)
        self._departed = getattr(policy, "departed", None)
        self._answered = getattr(policy, "answered", None)
        self._unanswered = getattr(policy, "unanswered", None)

    @property
    def watches_agents(self) -> bool:
        """Whether it is to be told of who comes and goes."""
        return self._arrived is not None or self._departed is not None

    @property
    def watches_answers(self) -> bool:
        """Whether it is to be told of answers."""
        return self._answered is not None or self._unanswered is not None

    def __call__(self, message: ChatMessage, agents: Agents) -> Agent | Rejected | None:
        """Choose among the agents; what fails is said to be the policy's error."""
        began = self._clock()
        try:
            chosen = self._policy(message, agents)
            if self._is_trusted or chosen is None or chosen in agents:
                return chosen
            # It may have been kept from an earlier message; what the registry has now counts.
            receiver = agents.get(chosen.agent_id)
            if receiver is not None:
                return receiver
            error = "the routing policy chose an agent that may not receive the message"
            self._fail(error)
        except Exception as raised:  # noqa: BLE001 - it is somebody else's code
            error = f"the routing policy failed: {type(raised).__name__}"
            self._fail(error, raised)
        finally:
            seconds = self._clock() - began
            self._took(seconds)
            if seconds >= _SLOW:
                self._warn_of_slowness(seconds)
        return Rejected(RejectReason.POLICY_ERROR, error)

    def arrived(self, agent: Agent) -> None:
        """Pass on that an agent has come online."""
        self._tell(self._arrived, agent)

    def departed(self, agent_id: str) -> None:
        """Pass on that an agent is not online any more."""
        self._tell(self._departed, agent_id)

    def answered(self, agent_id: str, seconds: float) -> None:
        """Pass on that an agent has answered."""
        self._tell(self._answered, agent_id, seconds)

    def unanswered(self, agent_id: str) -> None:
        """Pass on that a message is too old to be answered."""
        self._tell(self._unanswered, agent_id)

    def _tell(self, method: Callable[..., object] | None, *news: Any) -> None:
        if method is None:
            return
        try:
            method(*news)
        except Exception as raised:  # noqa: BLE001 - it is somebody else's code
            error = f"the routing policy failed when it was told news: {type(raised).__name__}"
            self._fail(error, raised)

    def _fail(self, error: str, raised: Exception | None = None) -> None:
        self._tally.policy_errors += 1
        now = self._clock()
        if now >= self._log_errors_from:
            self._log_errors_from = now + _LOG_INTERVAL
            # What was raised may quote the message, which is in no log; where it was, does not.
            at = {} if raised is None else {"at": _places(raised)}
            _log.error("policy_failed", error=error, **at)

    def _warn_of_slowness(self, seconds: float) -> None:
        now = self._clock()
        if now >= self._log_slowness_from:
            self._log_slowness_from = now + _LOG_INTERVAL
            _log.warning("policy_slow", milliseconds=round(seconds * 1_000, 1))


def _places(raised: Exception) -> list[str]:
    """Return where something was raised, from the policy on, the innermost place last."""
    _, *frames = extract_tb(raised.__traceback__)
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
