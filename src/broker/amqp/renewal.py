"""Messages that a quorum queue has had back too often, published anew before it drops them.

A quorum queue counts how often a message was returned, and every session that ends returns all that
was in flight. Beyond the limit, 20 by default in RabbitMQ 4, the queue drops the message, silently
where no dead-letter exchange is set. A new message starts from zero. It goes to the end of the
queue, so this waits until one lost session has followed another.
"""

from broker.amqp.publisher import PublishOutcome
from broker.amqp.suspects import Publishers, PublishingRefusedError
from broker.amqp.wire.field_table import UnreadablePropertiesError
from broker.amqp.wire.marshal import header_frame_size
from broker.amqp.wire.properties import DELIVERY_COUNT_HEADER
from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.raw_properties import edit_headers, join_properties, split_properties

RENEWED_AT = 2
"""Returns of a message: few, as a policy may set a limit as low as this, and no AMQP client can see
it. A message in flight comes back twice only if it could not be settled in between."""
_NEVER_COPIED = ("CC", "BCC", DELIVERY_COUNT_HEADER)
"""The first two would send copies to other queues."""


async def renew(
    publishers: Publishers, queue: str, properties: bytes, body: bytes, *, apart: bool = False
) -> bool:
    """Publish a message to its own queue, with all its properties and headers.

    Args:
        apart: Whether RabbitMQ may close the channel because of it; else that is decided by what
            it refused before.

    Returns:
        Whether RabbitMQ confirmed it. If not, as when the queue is full, it must be settled in the
        usual way.

    Raises:
        AmqpError: The connection was lost.
    """
    renewed = _renewed(queue, properties, body)
    refusals = publishers.refusals
    if (
        renewed is None
        or len(renewed.body) > refusals.max_message_size
        or header_frame_size(renewed) > publishers.usual.frame_max
    ):
        return False
    if not (apart or refusals.is_unexplained):
        return await publishers.usual.publish_once(renewed) is PublishOutcome.CONFIRMED
    try:
        return await publishers.suspects.publish(renewed) is PublishOutcome.CONFIRMED
    except PublishingRefusedError:
        return False


def _renewed(queue: str, raw: bytes, body: bytes) -> Publishing | None:
    try:
        properties = split_properties(raw)
        edit_headers(properties, drop=_NEVER_COPIED)
    except UnreadablePropertiesError:
        return None
    # RabbitMQ refuses any user but the one who publishes.
    properties.pop("user_id", None)
    return Publishing(queue, body, "", kept=join_properties(properties))
