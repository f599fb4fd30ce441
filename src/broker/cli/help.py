"""`broker help`: the help of a command, by another way than its option."""

from collections.abc import Sequence

from cyclopts import App

from broker.cli.usage import unknown_command
from broker.telemetry.one_line import complain


def show_help(app: App, command: Sequence[str]) -> int:
    """Print the help of a command, or of all of them; return the exit code."""
    found = app
    for count, name in enumerate(command, 1):
        if name.startswith("-") or name not in found:
            topics = [topic for topic in app["help"] if not topic.startswith("-")]
            return complain(unknown_command(command[:count], app, topics))
        found = found[name]
    app([*command, "--help"])
    return 0
