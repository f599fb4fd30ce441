"""What chooses one of the agents that may receive a message."""

from typing import Protocol

from broker.core.agent import Agent
from broker.core.messages import ChatMessage
from broker.core.routing.agents import Agents


class Policy(Protocol):
    """Chooses the receiver of a message: a function, or an object that can be called.

    It runs in the task that routes all messages, so it must neither wait nor take long.

    It may have further methods. Each is optional and is called in the same task:

    ``arrived(agent)``
        An agent has come online, or can do something else from now on.
    ``departed(agent_id)``
        An agent is not online any more.
    ``answered(agent_id, seconds)``
        An agent has answered a message that was routed to it so many seconds ago.
    ``unanswered(agent_id)``
        A message that was routed to an agent is too old for an answer to be waited for.
    """

    def __call__(self, message: ChatMessage, agents: Agents, /) -> Agent | None:
        """Choose one of the agents. There is at least one.

        None means that none of them should have it: it then counts as `no_capable_agent`.
        """


def choose_at_random(message: ChatMessage, agents: Agents, /) -> Agent:  # noqa: ARG001 - a policy
    """Choose any agent, each with the same chance. O(1)."""
    return agents.random()
