"""What an agent and its capabilities may be called."""

import re

from broker.core.lone_surrogates import show_lone_surrogates
from broker.core.messages import UNKNOWN_AGENT_NAME

MAX_AGENT_ID_LENGTH = 255
_MAX_AGENT_NAME_LENGTH = 255
"""A name is for people: what is longer is cut off."""

_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_agent_id(text: str, max_length: int = MAX_AGENT_ID_LENGTH) -> bool:
    """Return whether a text has 1 to so many characters, none of them a control character."""
    return 0 < len(text) <= max_length and (
        text.isprintable() or not _CONTROL_CHARACTERS.search(text)
    )


def agent_name(text: str | None) -> str:
    """Return a name to show: cut off after 255 characters, "Unknown Agent" when there is none."""
    if not text:
        return UNKNOWN_AGENT_NAME
    if "\0" in text:  # it may stand for a lone surrogate, and shows nothing in any case
        text = show_lone_surrogates(text)
    return text[:_MAX_AGENT_NAME_LENGTH]
