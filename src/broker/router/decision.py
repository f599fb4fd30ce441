"""What is decided about a delivery, as data, and what carries it out."""

import msgspec

from broker.amqp import DeadLetterAddress, Delivery, Held, Publishing, Settlement, dead_letter
from broker.core.hops import Hop
from broker.core.messages import Answer, RegistryEvent, Rejected
from broker.telemetry.tally import UNACCEPTED, MessageOutcome


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What becomes of one delivery, and what that changes. Nothing of it has happened yet."""

    message_type: str  # or what stands for it in the metrics
    verdict: MessageOutcome | Rejected  # what is rejected is dead-lettered
    publishing: Publishing | None = None
    announcement: Publishing | None = None  # for the other brokers
    receiver_id: str | None = None
    sender_id: str | None = None  # of a known agent, unless the message was received before
    unknown_sender: str | None = None  # it should be an agent, and the registry lacks it
    hop: Hop | None = None  # to be remembered
    held: Held | None = None  # how the message is held from now on
    asks: str | None = None  # the id of a message that its receiver may answer
    answer: Answer | None = None  # it answers a message that was routed before
    event: RegistryEvent | None = None  # what changes in the registry
    is_echo: bool = False  # this broker has announced it itself: nothing was received


def rejected(why: Rejected) -> Decision:
    """Return the decision to dead-letter a delivery."""
    return Decision(UNACCEPTED, why)


def settlement(delivery: Delivery, decision: Decision, address: DeadLetterAddress) -> Settlement:
    """Return what carries a decision out.

    The delivery goes to the address if it is rejected, or if RabbitMQ refuses the publishing.
    """
    verdict = decision.verdict
    if isinstance(verdict, Rejected):
        reason = verdict.reason.value
        letter = dead_letter(
            delivery,
            queue=address.queue,
            reason=reason,
            error=verdict.error,
            broker_id=address.broker_id,
        )
        return Settlement(delivery, letter, reason)
    publishing = decision.publishing
    fallback = None if publishing is None else address
    return Settlement(delivery, publishing, None, fallback, None, decision.announcement)
