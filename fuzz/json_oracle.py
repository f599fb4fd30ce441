"""A second opinion on JSON: the standard library's parser in Python, made as strict as RFC 8259."""

import json
import json.decoder
import json.scanner

type Json = dict[str, Json] | list[Json] | tuple[str] | str | bool | None
"""A value; a number is its text in a tuple of one, since no digit may be lost."""


class _Decoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(
            parse_int=_number,
            parse_float=_number,
            parse_constant=_refuse,
            object_pairs_hook=_object,
        )
        self.parse_string = _string
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


def _number(text: str) -> tuple[str]:
    return (text,)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    for name, _ in pairs:
        _refuse_lone_surrogates(name)
    return dict(pairs)


def _string(text: str, start: int, strict: bool) -> tuple[str, int]:
    value, end = json.decoder.scanstring(text, start, strict)  # type: ignore[attr-defined]
    _refuse_lone_surrogates(value)
    return value, end


def _refuse_lone_surrogates(text: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it escapes half of a surrogate pair")


def _refuse(name: str) -> None:
    raise ValueError(f"JSON knows no {name}")


_decoder = _Decoder()


def parse(text: str) -> Json:
    """Parse a JSON text.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply for this parser.
    """
    value: Json = _decoder.decode(text)
    return value


def depth(value: Json) -> int:
    """Return the levels of arrays and objects of a value."""
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
        case _:
            return 0
