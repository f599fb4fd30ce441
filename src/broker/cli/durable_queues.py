"""The durable queues that a broker uses."""

from collections.abc import Sequence

import msgspec

from broker.settings import Settings


class DurableQueue(msgspec.Struct, frozen=True):
    """A queue of the broker that outlives it."""

    name: str
    role: str
    is_consumed: bool


def durable_queues(settings: Settings) -> Sequence[DurableQueue]:
    """Return the durable queues that settings name."""
    held = (settings.broker_hold_queue,) if settings.broker_hold else ()
    return (
        *(DurableQueue(name, "input", is_consumed=True) for name in settings.broker_input_queue),
        DurableQueue(settings.broker_metadata_queue, "metadata", is_consumed=True),
        DurableQueue(settings.broker_advertisement_queue, "advertisement", is_consumed=True),
        *(DurableQueue(name, "hold", is_consumed=True) for name in held),
        *(DurableQueue(name, "output", is_consumed=False) for name in settings.broker_output_queue),
        DurableQueue(settings.broker_dead_letter_queue, "dead letter", is_consumed=False),
    )
