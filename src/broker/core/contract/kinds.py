"""The kinds of fields. `broker.core.codec.declared` has a decoder for each that is decoded.

What JSON Schema says about a string is checked by the decoder, not by msgspec: a kind is read by
people and programs, and errors are worded by the decoder.
"""

from typing import Annotated, Any

from msgspec import Meta, Raw, UnsetType

from broker.core.agent_ids import MAX_AGENT_ID_LENGTH
from broker.core.capabilities import MAX_CAPABILITIES, MAX_CAPABILITY_LENGTH
from broker.core.flags import Spelled

LARGEST_EXACT = 2**53
"""Larger numbers are not the same for all who read JSON."""
_CONTROL_CHARACTERS = "[\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]"


def _name(max_length: int) -> Meta:
    return Meta(
        extra_json_schema={
            "minLength": 1,
            "maxLength": max_length,
            "not": {"pattern": _CONTROL_CHARACTERS},
        }
    )


type Anything = Raw | UnsetType
"""Passed on, if at all, as the bytes that it is."""
type Text = str | UnsetType | None
"""Null counts as missing."""
type TextIfAny = Raw | UnsetType
"""Anything else than a string counts as missing."""
type AgentId = Annotated[str, _name(MAX_AGENT_ID_LENGTH)]
"""The id of an agent or a broker."""
type Capability = Annotated[str, _name(MAX_CAPABILITY_LENGTH)]
type SomeCapabilities = Annotated[
    list[Capability], Meta(extra_json_schema={"maxItems": MAX_CAPABILITIES})
]
type Capabilities = SomeCapabilities | UnsetType | None
"""Null counts as missing."""
type Flag = Annotated[
    Spelled | None,
    Meta(extra_json_schema={"enum": [True, False, 1, 0, "true", "false", None]}),
]
"""Upper case and surrounding spaces are understood as well."""
type Moment = Annotated[
    int,
    Meta(
        gt=0,
        lt=LARGEST_EXACT,
        description="Microseconds since 1970, later than everything the broker had heard of.",
    ),
]
# As draft 7 of JSON Schema, which AsyncAPI uses, has tuples.
type _Answer = Annotated[
    list[Any],
    Meta(
        min_length=3,
        max_length=3,
        extra_json_schema={"items": [{"type": "string"}, {"type": "string"}, {"type": "number"}]},
    ),
]
type Answers = list[_Answer] | UnsetType | None
"""Of each answer: the agent, the id of the message answered, and the seconds since it came."""
