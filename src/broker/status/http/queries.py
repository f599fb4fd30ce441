"""What a request asks for, read from its query; a sentence says what is wrong with it."""

from collections.abc import Mapping
from enum import StrEnum

from broker.core.capabilities import MAX_CAPABILITY_LENGTH
from broker.status.agents import SEARCHED_AGENTS, AgentQuery, Sort
from broker.status.rates import Span

MOST_AGENTS = 1_000
_LONGEST_SEARCH = 255
_FLAGS = {"": True, "true": True, "1": True, "false": False, "0": False}


def agent_query(parameters: Mapping[str, str]) -> AgentQuery:
    """Return which agents are asked for.

    Raises:
        ValueError: A parameter has a value that it cannot have; the text names it and what it must
            be, for a person.
    """
    capability = parameters.get("capability", "")
    if len(capability) > MAX_CAPABILITY_LENGTH:
        raise ValueError(f"capability must have at most {MAX_CAPABILITY_LENGTH} characters")
    online, offline = _flag(parameters, "online"), _flag(parameters, "offline")
    if online and offline:
        raise ValueError("online and offline exclude each other")
    return AgentQuery(
        search=parameters.get("search", "")[:_LONGEST_SEARCH],
        online=online,
        offline=offline,
        capability=capability,
        sort=_one_of(parameters, "sort", Sort, default=Sort.STATE),
        is_reversed=_flag(parameters, "reverse"),
        offset=_whole_number(parameters, "offset", 0, SEARCHED_AGENTS, default=0),
        limit=_whole_number(parameters, "limit", 1, MOST_AGENTS, default=AgentQuery().limit),
    )


def span(parameters: Mapping[str, str]) -> Span:
    """Return how far back a series is asked for.

    Raises:
        ValueError: As above.
    """
    return _one_of(parameters, "span", Span, default=Span.MINUTES)


def _one_of[T: StrEnum](
    parameters: Mapping[str, str], name: str, values: type[T], *, default: T
) -> T:
    text = parameters.get(name, default)
    if text not in values:
        raise ValueError(f"{name} must be one of {', '.join(values)}")
    return values(text)


def _whole_number(
    parameters: Mapping[str, str], name: str, least: int, most: int, *, default: int
) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    # Python would take more for a number: signs, spaces, underscores, other digits.
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    if not is_number or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return int(text)


def _flag(parameters: Mapping[str, str], name: str) -> bool:
    text = parameters.get(name)
    if text is None:
        return False
    flag = _FLAGS.get(text.lower())
    if flag is None:
        raise ValueError(f"{name} must be true or false")
    return flag
