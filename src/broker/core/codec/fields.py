"""The fields of a JSON object, checked once: values stay the bytes they arrived as.

All functions raise `RejectedError` for what they do not accept.
"""

from collections.abc import Callable
from itertools import accumulate

import msgspec

from broker.core.messages import Fields, Rejected, RejectReason

MAX_DEPTH = 128
"""Levels of arrays and objects a body may have: receivers recurse, and this many all can."""

_parse_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
parse_string: Callable[[msgspec.Raw], str | None] = msgspec.json.Decoder(str | None).decode
"""Raises `msgspec.ValidationError`."""
_parse_any = msgspec.json.Decoder(msgspec.Raw).decode

_LEVELS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""Brackets as signed bytes: one level more, one level fewer."""

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class RejectedError(Exception):
    """A body or field that cannot be used; `broker.core.codec` returns what it carries."""

    def __init__(self, reason: RejectReason, error: str) -> None:
        super().__init__(error)
        self.rejected = Rejected(reason, error)


def checked_fields(body: bytes, max_bytes: int) -> Fields:
    """Return the fields of a JSON object; reject a large or deep one, and what is not UTF-8."""
    if len(body) > max_bytes:
        too_large = f"the body has {len(body)} bytes, {max_bytes} are allowed"
        raise RejectedError(RejectReason.TOO_LARGE, too_large)
    try:
        # msgspec does not look at the UTF-8 inside of strings that it skips.
        body.decode()
    except UnicodeDecodeError as error:
        raise RejectedError(
            RejectReason.INVALID_UTF8, f"the body is not UTF-8: {error.reason} at {error.start}"
        ) from error
    # Almost every body has fewer brackets than levels are allowed, and two counts tell.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_too_deep(body):
        too_deep = f"the body is nested deeper than {MAX_DEPTH} levels"
        raise RejectedError(RejectReason.TOO_DEEP, too_deep)
    return parsed_fields(body)


def parsed_fields(text: bytes | str) -> Fields:
    """Return the fields of a JSON object; reject everything else."""
    try:
        try:
            return _parse_fields(text)
        except msgspec.ValidationError:
            # Raised at the first byte of a list or number, before the rest was looked at.
            _parse_any(text)
            raise
    except msgspec.ValidationError as error:
        raise RejectedError(RejectReason.NOT_AN_OBJECT, str(error)) from error
    except msgspec.DecodeError as error:
        raise RejectedError(RejectReason.INVALID_JSON, str(error)) from error
    except RecursionError as error:
        raise RejectedError(RejectReason.TOO_DEEP, str(error)) from error


def _is_too_deep(body: bytes) -> bool:
    # Without escaped quotes, every other piece between quotes stands outside of a string.
    # What follows a syntax error may be measured wrong, but no decoder gets there.
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    levels = memoryview(outside.translate(_LEVELS, _NOT_BRACKETS)).cast("b")
    return max(accumulate(levels), default=0) > MAX_DEPTH


def message_type_of(fields: Fields) -> str:
    """Return the `message_type`; reject fields without one."""
    message_type = decode_string(fields, "message_type")
    if message_type is None:
        raise RejectedError(RejectReason.MISSING_MESSAGE_TYPE, "`message_type` is missing")
    return message_type


def string_field(fields: Fields, name: str) -> str | None:
    """Return a field's value when it is a string, else None."""
    try:
        return decode_string(fields, name)
    except RejectedError:
        return None


def decode_string(fields: Fields, name: str) -> str | None:
    """Decode one field that must be a string; null counts as missing."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return parse_string(raw)
    except msgspec.ValidationError as error:
        raise RejectedError(RejectReason.INVALID_FIELD, f"`{name}`: {error}") from error
