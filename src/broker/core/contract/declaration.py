"""What a declaration says of a message."""

from collections.abc import Sequence
from typing import get_args

from msgspec import Struct
from msgspec.structs import FieldInfo, fields

type Declaration = type[Struct]
"""A message: its docstring says what it is for, its fields what is in it."""


def message_types(message: Declaration) -> tuple[str, ...]:
    """Return the values that `message_type` has for a message."""
    [field] = [field for field in fields(message) if field.name == "message_type"]
    return get_args(field.type)


def declared_fields(message: Declaration) -> Sequence[FieldInfo]:
    """Return all fields of a message but `message_type`."""
    return [field for field in fields(message) if field.name != "message_type"]


def field_names(message: Declaration) -> Sequence[str]:
    """Return the names of these fields in JSON."""
    return [field.encode_name for field in declared_fields(message)]
