"""What came out of a queue."""

from collections.abc import Mapping

import msgspec

from tests.lab.amqp_connection import Message


class Taken(msgspec.Struct, frozen=True):
    """A message that was taken out of a queue.

    Attributes:
        publish_id: The AMQP message id, which the broker makes anew for each publish.
    """

    body: bytes
    publish_id: str | None
    properties: frozenset[str] = frozenset()
    headers: Mapping[str, object] = {}


def taken(message: Message) -> Taken:
    properties = message.header.properties
    return Taken(
        message.body,
        properties.message_id,
        frozenset(name for name, value in properties if value not in (None, "")),
        properties.headers or {},
    )
