"""After how many returns a quorum queue drops a message, as its arguments and policies say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pamqp.common import FieldTable, FieldValue

from broker.amqp.admin.queue_state import QUORUM, drops_by_default
from broker.amqp.connection import Connection
from broker.amqp.queue_type import refusal_of
from broker.amqp.wire.errors import describe

_DEFAULT_LIMIT = 20
"""RabbitMQ's own, from version 4.0 on."""
_LIMIT_ARGUMENT = "x-delivery-limit"
_DEAD_LETTER_ARGUMENT = "x-dead-letter-exchange"
_MOST_ARGUMENTS = 12
_ARGUMENT = re.compile(
    r"inequivalent arg '(x-[^']+)' .* but current is the value '([^']*)' of type '([a-z]+)'"
)


@dataclass(frozen=True, slots=True)
class QuorumArguments:
    """What limits how often a quorum queue takes a message back, without regard to policies.

    Attributes:
        limit: The argument `x-delivery-limit`, None without it; negative for none.
        default: The limit without argument and policy, None when there is none.
        has_dead_letter_exchange: Whether the arguments name one, which gets what would be dropped.
    """

    limit: int | None
    default: int | None
    has_dead_letter_exchange: bool

    def drops_after(self, policy: Mapping[str, object]) -> int | None:
        """Return the returns after which a message is dropped, None when it never is.

        As RabbitMQ does, the lower limit counts, unless one of them is negative.
        """
        by_policy = policy.get("delivery-limit")
        limits = [one for one in (self.limit, by_policy) if isinstance(one, int)]
        limit = self.default
        if limits:
            limit = max(limits) if min(limits) < 0 else min(limits)
        if self.has_dead_letter_exchange or "dead-letter-exchange" in policy:
            return None
        return limit if limit is not None and limit >= 0 else None


async def quorum_arguments(connection: Connection, queue: str) -> QuorumArguments | None:
    """Return what limits a quorum queue that exists, None when it is no quorum queue.

    RabbitMQ tells one argument in each refusal of a declaration that lacks it. It logs that.

    Raises:
        AmqpError: RabbitMQ did not answer in time.
    """
    arguments: FieldTable = {"x-queue-type": QUORUM}
    while len(arguments) <= _MOST_ARGUMENTS:
        refusal = await refusal_of(connection, queue, arguments)
        text = "" if refusal is None else describe(refusal)
        if refusal is not None and ("'x-queue-type'" in text or "inequivalent arg 'x-" not in text):
            return None  # RabbitMQ names what else differs first, and quorum queues are all durable
        told = _ARGUMENT.search(text)
        if told is None or told[1] in arguments:
            break
        arguments[told[1]] = _value(told[2], told[3])
    limit = arguments.get(_LIMIT_ARGUMENT)
    return QuorumArguments(
        limit=limit if isinstance(limit, int) else None,
        default=_DEFAULT_LIMIT if drops_by_default(connection) else None,
        has_dead_letter_exchange=_DEAD_LETTER_ARGUMENT in arguments,
    )


def _value(text: str, kind: str) -> FieldValue:
    if kind == "bool":
        return text == "true"
    return int(text) if kind != "longstr" and text.lstrip("-").isdecimal() else text
