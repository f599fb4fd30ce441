"""A second opinion on JSON: the standard library's parser in Python, made as strict as RFC 8259.

Half of a surrogate pair is part of a text, as in the grammar there.
"""

import json
import json.scanner

type Json = dict[str, Json] | list[Json] | tuple[str] | str | bool | None
"""A value; a number is its text in a tuple of one, since no digit may be lost."""


class _Decoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(parse_int=_number, parse_float=_number, parse_constant=_refuse)
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


def _number(text: str) -> tuple[str]:
    return (text,)


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
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
        case _:
            return 0
