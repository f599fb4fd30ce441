"""Route a message: filter the agents, then let the policy choose."""

from collections.abc import Callable

from broker.core.agent import Agent
from broker.core.messages import ChatMessage, Rejected
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from broker.core.routing.failure import FailureReason
from broker.core.routing.policy import choose_at_random
from broker.core.routing.receivers import ReceiverRule, receivers

type Choose = Callable[[ChatMessage, Agents], Agent | Rejected | None]
"""Chooses among agents as a policy does; or rejects the message."""

_IGNORE = ReceiverRule.IGNORE  # looked up once, like that of `receivers`


def route(
    message: ChatMessage,
    registry: AgentRegistry,
    *,
    random: Callable[[], float],
    choose: Choose = choose_at_random,
    rule: ReceiverRule = _IGNORE,
) -> Agent | FailureReason | Rejected:
    """Return who receives a message, or why nobody does.

    Args:
        random: Returns a float in [0.0, 1.0), such as `random.random`.
        choose: The policy. It is not asked when there is nobody to choose from.
        rule: What the `receiver_id` of the message means.
    """
    if choose is choose_at_random and rule is _IGNORE and not message.required_capabilities:
        # Without settings all messages are routed like this, and it needs no view of the agents.
        anybody = registry.anybody_but(message.sender_id, random)
        if anybody is not None:
            return anybody
    found = receivers(message, registry, rule, random)
    if not isinstance(found, Agents):
        return found
    chosen = choose(message, found)
    return FailureReason.NO_CAPABLE_AGENT if chosen is None else chosen
