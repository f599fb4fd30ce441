"""Word a wrong usage in one line, without repeating values, as each may be a secret."""

from collections.abc import Iterator, Sequence

from cyclopts import (
    App,
    Argument,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from broker.cli.nearest import did_you_mean, nearest


def usage_problem(error: CycloptsError, arguments: Sequence[str], app: App) -> str:
    """Return what is wrong with a command line.

    Args:
        arguments: The command line that the error was raised for.
        app: All commands.
    """
    chain = list(error.command_chain or ())
    if not chain and arguments and not arguments[0].startswith("-"):
        return unknown_command(arguments[:1], app)
    command = " ".join(("broker", *chain))
    match error:
        case UnknownCommandError():
            problem = _unknown_of_group(chain, arguments[len(chain) :], app)
        case UnknownOptionError(token=token, argument_collection=known):
            names = [name for argument in known for name in argument.names]
            problem = _unknown_option(token.keyword or "", names, command)
        case ValidationError(argument=argument) if argument is not None:
            problem = f"{_written(argument)}{error.exception_message}"
        case CoercionError(argument=argument) if argument is not None:
            problem = f"{_written(argument)}must be {_expected(argument)}"
        case MissingArgumentError(keyword=str(option)):
            problem = f"{option} requires an argument"
        case MissingArgumentError(argument=argument) if argument is not None:
            choices = argument.get_choices(force=True)
            which = f", which must be {' or '.join(choices)}" if choices else ""
            problem = f"{' '.join(chain)} requires {argument.name}{which}"
        case UnusedCliTokensError() if _is_unknown_command(chain, arguments, app):
            problem = unknown_command(arguments[: len(chain) + 1], app)
        case UnusedCliTokensError():
            problem = (
                "unexpected argument after the options (values with spaces need quotes), see "
                f"{command} --help"
            )
        case _:
            problem = str(error)
    return problem


def unknown_command(words: Sequence[str], app: App, topics: Sequence[str] = ()) -> str:
    """Return that there is no such command, and which one may have been meant.

    Args:
        words: The command, the last of which is unknown in the group of those before.
        topics: What else one word may have meant.
    """
    *group, written = words
    names = _commands(_group(app, group)) if group else [*_commands(app), *topics]
    meant = [" ".join((*group, name)) for name in nearest(written, names)]
    if not meant and not group:
        # "replay" for "dead-letters replay"
        meant = [" ".join(path) for path in _paths(app) if path[-1] == written]
    advice = did_you_mean(meant) or f"see {' '.join(('broker', *group))} --help"
    return f"unknown command {' '.join(words)!r}, {advice}"


def _is_unknown_command(group: Sequence[str], arguments: Sequence[str], app: App) -> bool:
    """Whether the next word stands where the name of a command would."""
    following = arguments[len(group) : len(group) + 1]
    return bool(_commands(_group(app, group))) and not following[0].startswith("-")


def _unknown_of_group(group: Sequence[str], written: Sequence[str], app: App) -> str:
    if written and written[0].startswith("-"):
        option = written[0].partition("=")[0]
        shown = option if option.startswith("--") else option[:2]
        return (
            f"option {shown} before the command, it must follow: see "
            f"{' '.join(('broker', *group))} --help"
        )
    return unknown_command([*group, *written[:1]], app)


def _unknown_option(written: str, names: Sequence[str], command: str) -> str:
    see = f"see {command} --help"
    if not written.startswith("--"):
        # Of -pSECRET, only the letter is the option's.
        return f"unknown option {written[:2]}, {see}" if written else f"unknown option, {see}"
    known = [name.removeprefix("--") for name in names if name.startswith("--")]
    meant = [f"--{name}" for name in nearest(written.removeprefix("--"), known)]
    return f"unknown option {written}, {did_you_mean(meant) or see}"


def _written(argument: Argument) -> str:
    """Return an argument's name as it was written, of several that it has, and a space."""
    if argument.name == "*":  # several options together, which the problem names
        return ""
    keywords = (token.keyword for token in argument.tokens if token.keyword)
    return f"{next(keywords, argument.name)} "


def _expected(argument: Argument) -> str:
    if argument.hint is bool:
        return "without a value"
    choices = argument.get_choices(force=True)
    return " or ".join(choices) if choices else "a number"


def _group(app: App, names: Sequence[str]) -> App:
    for name in names:
        app = app[name]
    return app


def _commands(app: App) -> list[str]:
    """Return the names of a group's commands; none if it is no group."""
    return [name for name in app if not name.startswith("-")]


def _paths(app: App) -> Iterator[tuple[str, str]]:
    for group in _commands(app):
        for name in _commands(app[group]):
            yield group, name
