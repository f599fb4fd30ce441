"""`broker completion`: what lets a shell complete the command line."""

from typing import Literal

from broker.cli.output import print_text


def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the completion script of a shell.

    Args:
        shell: Which shell.
    """
    # It imports this module by name, when the command is used.
    from broker.cli.application import application  # noqa: PLC0415 - see above

    print_text(application().generate_completion(shell=shell))
    return 0
