"""Decode messages as they are declared in `broker.core.contract`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAliasType, get_origin

import msgspec

from broker.core.agent_ids import MAX_AGENT_ID_LENGTH, is_agent_id
from broker.core.capabilities import REQUIREMENT, as_capabilities
from broker.core.codec.fields import RejectedError, parse_string
from broker.core.contract import Declaration, declared_fields, kinds, message_types
from broker.core.messages import Answer, Fields, RejectReason

type _Decode = Callable[[msgspec.Raw], object]

_NULL = msgspec.Raw(b"null")

_parse_names = msgspec.json.Decoder(list[str]).decode
_parse_number = msgspec.json.Decoder(float).decode
_parse_answers = msgspec.json.Decoder(list[tuple[str, str, float]]).decode


class Declared:
    """Decodes one message.

    Attributes:
        types: The values that `message_type` has for it.

    Raises:
        TypeError: It has a field of a kind that cannot be decoded.
    """

    def __init__(self, message: Declaration) -> None:
        self.types = message_types(message)
        self._decoders = tuple(_decoders(message))

    def decode(self, fields: Fields) -> dict[str, Any]:
        """Decode the fields of which the declaration says more than that they may be there.

        Returns:
            The required ones, and what is there of the others.

        Raises:
            RejectedError: A field is not as declared, or missing.
        """
        values = {}
        name = ""
        try:
            for name, decode, is_required in self._decoders:
                raw = fields.get(name)
                if raw is None:
                    if not is_required:
                        continue
                    raw = _NULL
                values[name] = decode(raw)
        except msgspec.ValidationError as error:
            raise RejectedError(RejectReason.INVALID_FIELD, f"`{name}`: {error}") from error
        except _UnusableError as error:
            raise RejectedError(RejectReason.INVALID_FIELD, f"`{name}` {error}") from error
        return values


class _UnusableError(Exception):
    """A value of the right type that cannot be used. It says what the field must be."""


def _decode_if_text(raw: msgspec.Raw) -> str | None:
    try:
        return parse_string(raw)
    except msgspec.ValidationError:
        return None


def _decode_id(raw: msgspec.Raw) -> str:
    text = parse_string(raw)
    if text is None or not is_agent_id(text):
        raise _UnusableError(
            f"must be a string of 1 to {MAX_AGENT_ID_LENGTH} characters, none of them a control "
            "character"
        )
    return text


def _decode_capabilities(raw: msgspec.Raw) -> tuple[str, ...] | None:
    """Decode a list of capabilities; each comes once, in order."""
    if _is_null(raw):
        return None
    capabilities = as_capabilities(_parse_names(raw))
    if capabilities is None:
        raise _UnusableError(f"must be {REQUIREMENT}")
    return capabilities


def _decode_moment(raw: msgspec.Raw) -> int:
    # JSON has one kind of numbers: 1.0 is as whole as 1, and not all who write it have a choice.
    at = 0.0 if _is_null(raw) else _parse_number(raw)
    if not at.is_integer() or not 0 < at < kinds.LARGEST_EXACT:
        raise _UnusableError("must be a whole number of microseconds since 1970")
    return int(at)


def _decode_answers(raw: msgspec.Raw) -> Sequence[Answer]:
    return () if _is_null(raw) else [Answer(*answer) for answer in _parse_answers(raw)]


def _is_null(raw: msgspec.Raw) -> bool:
    # The JSON is checked already: only null starts with an n.
    return memoryview(raw)[0] == ord("n")


_DECODERS: Mapping[object, _Decode | None] = {
    kinds.AgentId: _decode_id,
    kinds.Answers: _decode_answers,
    kinds.Anything: None,
    kinds.Capabilities: _decode_capabilities,
    kinds.Moment: _decode_moment,
    kinds.Text: parse_string,
    kinds.TextIfAny: _decode_if_text,
}


def _decoders(message: Declaration) -> Iterator[tuple[str, _Decode, bool]]:
    for field in declared_fields(message):
        decode = _DECODERS[_kind(field.type)]
        if decode is not None:
            yield field.encode_name, decode, field.required


def _kind(annotation: Any) -> object:
    """Return the kind below descriptions, and below names for kinds with descriptions."""
    while annotation not in _DECODERS:
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif get_origin(annotation) is Annotated:
            annotation = annotation.__origin__
        else:
            raise TypeError(f"there is no decoder for {annotation}")
    return annotation
