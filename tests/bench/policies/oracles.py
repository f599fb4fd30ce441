"""Policies that know when each agent would answer, to measure what knowledge is worth."""

from collections.abc import Callable

from broker.core.agent import Agent
from broker.core.messages import ChatMessage
from broker.core.routing.agents import Agents
from broker.core.routing.policy import Policy

type AnswersAt = Callable[[Agent], float]
"""Returns when an agent would answer the message that is being routed."""


def oracle_of_two(answers_at: AnswersAt) -> Policy:
    """Return a policy that draws two agents at random, and chooses the first to answer."""

    def choose(message: ChatMessage, agents: Agents, /) -> Agent:  # noqa: ARG001 - a policy
        return min(agents.sample(2), key=answers_at)

    return choose


def oracle_of_all(answers_at: AnswersAt) -> Policy:
    """Return a policy that chooses the first of all agents to answer."""

    def choose(message: ChatMessage, agents: Agents, /) -> Agent:  # noqa: ARG001 - a policy
        return min(agents, key=answers_at)

    return choose
