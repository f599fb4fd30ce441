"""What came out of a queue."""

from collections.abc import Mapping

import msgspec


class Taken(msgspec.Struct, frozen=True):
    """A message that was taken out of a queue.

    Attributes:
        body: The body.
        publish_id: The AMQP message id, which the broker makes anew for each publish.
        properties: The names of the AMQP properties that are set.
        headers: The AMQP headers.
    """

    body: bytes
    publish_id: str | None
    properties: frozenset[str] = frozenset()
    headers: Mapping[str, object] = {}
