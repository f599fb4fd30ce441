"""The AMQP headers of dead letters, for the AsyncAPI document."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from broker.core.messages import RejectReason


class DeadLetterHeaders(
    Struct,
    rename={
        "reason": "x-broker-reason",
        "error": "x-broker-error",
        "queue": "x-original-queue",
        "broker_id": "x-broker-id",
        "at": "x-dead-lettered-at",
        "added": "x-added-properties",
        "expiration": "x-original-expiration",
        "properties": "x-original-properties",
        "replays": "x-broker-replays",
    },
):
    """Why a message was dead-lettered: AMQP headers in addition to its own, which it keeps."""

    reason: Annotated[RejectReason, Meta(description="Why, for programs. These codes stay.")]
    error: Annotated[str, Meta(description="One line for a person, at most 255 bytes.")]
    queue: Annotated[str, Meta(description="The queue it came from.")]
    broker_id: str
    at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    added: Annotated[
        str | UnsetType, Meta(description="AMQP properties it lacked; a replay removes them.")
    ] = UNSET
    expiration: Annotated[
        str | UnsetType, Meta(description="The AMQP property, by which the letter would vanish.")
    ] = UNSET
    properties: Annotated[
        bytes | UnsetType, Meta(description="AMQP properties that cannot be read; a byte array.")
    ] = UNSET
    replays: Annotated[str | UnsetType, Meta(description="How often it was replayed.")] = UNSET
