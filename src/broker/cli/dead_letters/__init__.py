"""`broker dead-letters`: what could not be processed, looked at, sent back, or removed."""

from collections.abc import Mapping
from typing import Annotated

from cyclopts import Parameter

from broker.cli.dead_letters import looking, purging, replaying
from broker.cli.dead_letters.selection import Selection
from broker.cli.output import Format
from broker.cli.taking_settings import taking_settings

__all__ = ["list_letters", "purge_letters", "replay_letters", "show_letters"]

# Its fields are options of their own.
type Selected = Annotated[Selection, Parameter("*")]
type Switch = Annotated[bool, Parameter(negative="", show_default=False)]
_EVERYTHING = Selection()


@taking_settings
def list_letters(
    given: Mapping[str, str],
    *,
    selection: Selected = _EVERYTHING,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """List what is in the dead-letter queue, oldest first. Changes nothing.

    Args:
        given: The settings that the command line gives.
        selection: Which messages.
        format: For people or for programs.

    Returns:
        The exit code.
    """
    return looking.run(given, selection, looking.LIST[format])


@taking_settings
def show_letters(
    given: Mapping[str, str],
    *,
    selection: Selected = _EVERYTHING,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Show dead letters with their headers and bodies, oldest first. Changes nothing.

    Args:
        given: The settings that the command line gives.
        selection: Which messages.
        format: For people or for programs.

    Returns:
        The exit code.
    """
    return looking.run(given, selection, looking.SHOW[format])


@taking_settings
def replay_letters(
    given: Mapping[str, str],
    *,
    selection: Selected = _EVERYTHING,
    dry_run: Switch = False,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Send dead letters back to their original queues.

    Each leaves the dead-letter queue only when its queue has it. What is no dead letter of a
    broker, or did not come from a queue that this broker reads, stays where it is.

    Args:
        given: The settings that the command line gives.
        selection: Which messages.
        dry_run: Only say what would be done.
        format: For people or for programs.

    Returns:
        The exit code.
    """
    return replaying.run(given, selection, format, dry_run=dry_run)


@taking_settings
def purge_letters(
    given: Mapping[str, str],
    *,
    selection: Selected = _EVERYTHING,
    all: Switch = False,  # noqa: A002 - named like the option
    dry_run: Switch = False,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Delete dead letters permanently.

    Args:
        given: The settings that the command line gives.
        selection: Which messages.
        all: Remove whatever is in the queue; needed when nothing else says what to remove.
        dry_run: Only say what would be done.
        format: For people or for programs.

    Returns:
        The exit code.
    """
    return purging.run(given, selection, format, all=all, dry_run=dry_run)
