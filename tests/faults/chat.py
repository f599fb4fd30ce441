"""The messages that the load consists of. Each is a function of its number alone."""

from collections.abc import Mapping

import msgspec

AGENTS = tuple(f"agent-{number:02}" for number in range(20))
"""The agents that are online at the start of each scenario."""

_BOOKKEEPING = ("_client_id", "_broadcast", "_target_agent_id")
_VARIANTS: tuple[Mapping[str, str], ...] = (
    {},
    {"text_payload": '"Grüße, 世界 🚀, \\u00e9\\n\\"quoted\\" \\/ \\ud83d\\ude80"'},
    {"big": "123456789012345678901234567890", "float": "1.50", "exponent": "-1E+02"},
    {"nested": '{"a": [1, {"b": null}, "\\u0000"],  "a ": {}}', "empty": '""', "ünïcode": "true"},
    {"_client_id": '"client-7"', "_broadcast": "false", "routing_status": '"pending"'},
    {"_target_agent_id": '"agent-03"', "receiver_id": '"agent-03"', "in_reply_to": '"c-0"'},
)
"""Raw JSON by field. Whoever takes a value apart and puts it together again changes some of it."""


def message_id(number: int) -> str:
    return f"c-{number}"


def number_of(name: str) -> int | None:
    """Return the number behind an id, or None when it is none of ours."""
    digits = name.removeprefix("c-")
    return int(digits) if digits.isdecimal() and message_id(int(digits)) == name else None


def sender(number: int) -> str:
    return AGENTS[number % len(AGENTS)]


def body(number: int) -> bytes:
    pairs = (f"{_quoted(name)}: {value}" for name, value in _fields(number).items())
    return ("{" + ", ".join(pairs) + "}").encode()


def routed_fields(number: int) -> Mapping[str, bytes]:
    """Return what a routed message must consist of, as raw JSON, without its receiver."""
    fields = dict(_fields(number))
    for name in (*_BOOKKEEPING, "receiver_id"):
        fields.pop(name, None)
    if "routing_status" in fields:
        fields["routing_status"] = '"routed"'
    return {name: value.encode() for name, value in fields.items()}


def _fields(number: int) -> Mapping[str, str]:
    return {
        "message_type": '"TEXT"',
        "message_id": _quoted(message_id(number)),
        "sender_id": _quoted(sender(number)),
        "text_payload": _quoted(f"message {number}"),
        "send_timestamp": '"2026-01-01T00:00:00.000000Z"',
        # By another period than the senders', so that each agent sends every variant.
        **_VARIANTS[number // 3 % len(_VARIANTS)],
    }


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
