"""What RabbitMQ refused to take, remembered from session to session.

RabbitMQ answers a message that it does not take by closing the channel, or even the connection, and
delivers again what the broker had not acknowledged. So a message must be recognised when it comes
back, or it ends one session after the other and nothing behind it is routed.
"""

import re

import structlog
from aiormq.exceptions import (
    ChannelPreconditionFailed,
    ConnectionFrameError,
    ConnectionInternalError,
    ConnectionSyntaxError,
    ConnectionUnexpectedFrame,
)

from broker.amqp.wire.errors import describe
from broker.core.messages import MAX_BODY_BYTES

_TOO_LARGE = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")
"""How RabbitMQ words it, 3.8 to 4.0 at least. It counts the body alone."""

_BLAMES_THE_MESSAGE = (
    ChannelPreconditionFailed,
    ConnectionFrameError,
    ConnectionInternalError,  # a channel process that crashed on what it was sent
    ConnectionSyntaxError,
    ConnectionUnexpectedFrame,
)
"""Rights that are missing, queues that are gone and nodes that shut down have other codes."""

_log = structlog.get_logger(__name__)


class Refusals:
    """What is known of the messages that RabbitMQ does not take; one for the whole process.

    Written in the AMQP thread. Others may read.

    Attributes:
        max_message_size: Bytes of the largest body that RabbitMQ takes, as far as it has said so.
        is_unexplained: Whether RabbitMQ closed a channel because of a message without telling of
            which. From then on, redelivered messages are suspects.
    """

    def __init__(self) -> None:
        self.max_message_size = MAX_BODY_BYTES
        self.is_unexplained = False

    def learn(self, reason: BaseException) -> bool:
        """Learn why RabbitMQ closed a channel; return whether it blames what was published."""
        if not isinstance(reason, _BLAMES_THE_MESSAGE):
            return False
        text = describe(reason)
        if not self.learn_limit(text):
            self.is_unexplained = True
            _log.warning("message_refused", error=text)
        return True

    def learn_limit(self, text: str) -> bool:
        """Learn the size of the largest body from what RabbitMQ says; return whether it does."""
        limit = _TOO_LARGE.search(text)
        if limit is None:
            return False
        self.max_message_size = min(self.max_message_size, int(limit[1]))
        _log.warning("message_size_limited", max_message_size=self.max_message_size)
        return True
