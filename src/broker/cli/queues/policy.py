"""Policies for the queues that the broker reads: what is returned too often is dead-lettered.

Only quorum queues count how often a message was returned. For them RabbitMQ dead-letters without
loss only with the strategy `at-least-once`, and takes that only with `reject-publish`.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence

import msgspec

from broker.cli.durable_queues import durable_queues
from broker.settings import Settings

DELIVERY_LIMIT = 20
"""Returns that a policy allows unless told otherwise: RabbitMQ 4's own default."""


_EFFECTS_ON_QUORUM_ONLY = "delivery-limit and dead-letter-strategy have no effect"
_CONVERT = "'broker queues migrate --type quorum' converts it"


def notes(types: Mapping[str, str | None]) -> Sequence[str]:
    """Return in a line each what of the policies has no effect on queues because of their types.

    Args:
        types: The type of each queue that exists, None if RabbitMQ does not tell; of others
            `missing`.
    """
    said: Mapping[str | None, str] = {
        "classic": f"is a classic queue, on which {_EFFECTS_ON_QUORUM_ONLY}: {_CONVERT}",
        "missing": f"does not exist; on a classic queue, which the broker creates, "
        f"{_EFFECTS_ON_QUORUM_ONLY}",
        "stream": "is a stream, on which none of the policy has an effect",
        None: f"has a type that RabbitMQ does not tell; unless it is quorum, "
        f"{_EFFECTS_ON_QUORUM_ONLY}",
    }
    return [f"{queue} {said[kind]}" for queue, kind in types.items() if kind in said]


class Policy(msgspec.Struct, frozen=True):
    """A RabbitMQ policy for one queue.

    Attributes:
        pattern: The regular expression that the queue's name alone matches.
        priority: Of several policies for a queue, the one with the highest counts.
    """

    vhost: str
    name: str
    pattern: str
    definition: Mapping[str, str | int]
    apply_to: str = "queues"
    priority: int = 10

    @property
    def command(self) -> str:
        """The command for a shell that sets it."""
        return shlex.join(
            (
                *("rabbitmqctl", "set_policy", "-p", self.vhost, "--apply-to", self.apply_to),
                *("--priority", str(self.priority), self.name, self.pattern),
                json.dumps(self.definition, ensure_ascii=False),
            )
        )


def policies(settings: Settings, delivery_limit: int) -> Sequence[Policy]:
    """Return the policies for the queues that the broker reads."""
    definition: Mapping[str, str | int] = {
        "delivery-limit": delivery_limit,
        "dead-letter-exchange": "",
        "dead-letter-routing-key": settings.broker_dead_letter_queue,
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
    }
    return [
        Policy(
            vhost=settings.amqp_endpoints[0].vhost,
            name=f"{queue.name}.delivery-limit",
            pattern=f"^{re.escape(queue.name)}$",
            definition=definition,
        )
        for queue in durable_queues(settings)
        if queue.is_consumed
    ]
