"""Types of options; what they must be is said in words that read on from the option's name."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from broker.net.endpoints import split_url

_DURATION = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def within(least: float, most: float | None = None) -> Callable[[object, Any], None]:
    """Return what refuses other numbers, NaN among them."""
    expectation = f"at least {least}" if most is None else f"from {least} to {most}"

    def validate(_: object, value: float | None) -> None:
        if value is not None and not (value >= least and (most is None or value <= most)):
            raise ValueError(f"must be {expectation}")

    return validate


def is_duration(_: Any, text: str | None) -> None:
    """Refuse what `seconds` cannot read."""
    if text is not None:
        seconds(text)


def seconds(text: str) -> int:
    """Return the seconds of a duration such as 90s, 15m, 2h or 3d.

    Raises:
        ValueError: It is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text.isascii():
        raise ValueError("must be a duration such as 90s, 15m, 2h or 3d")
    return int(match[1]) * _SECONDS[match[2]]


def is_management_url(_: Any, text: str | None) -> None:
    """Refuse what is no address of RabbitMQ's management API."""
    if text is None:
        return
    if "@" in text:
        # urllib would take a login for a part of the host's name.
        raise ValueError("must not contain a login: that of AMQP_URL or RABBITMQ_USER is used")
    split_url(text, ("http", "https"))


Format = Annotated[
    Literal["text", "json"],
    Parameter(name="--format", help="text for people, or json for programs."),
]
type Switch = Annotated[bool, Parameter(negative="", show_default=False)]
type AtLeastOne = Annotated[int, Parameter(validator=within(1))]
type ManagementUrl = Annotated[str | None, Parameter(validator=is_management_url)]
