"""`.env` files: read as a whole, or refused by line number.

python-dotenv parses the lines. What it only logs, or drops without a word, is an error here, and
values in single quotes are literal, as in a shell.
"""

import os
import re
import stat
from collections.abc import Container, Mapping, Sequence
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Atom, Variable, parse_variables

from broker.settings.decoding import NotTextError, decoded

_MAX_BYTES = 1 << 20  # a wrong file must not fill the memory
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_SINGLE_QUOTED = re.compile(r"[^=]*=[^\S\n]*'")


class DotenvError(Exception):
    """A `.env` file is wrong: a line for each problem, with its place, and no values."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def read_dotenv(path: Path, known: Container[str]) -> Mapping[str, str]:
    """Read a `.env` file, if there is one, and return the values by name, in lower case.

    Names are taken in any case; of several lines with the same name the last one counts. `${NAME}`
    and `${NAME:-default}` stand for the value of an earlier line or of the environment, except in
    single quotes.

    Args:
        known: The names of settings, in lower case. Only they may not refer to a variable that is
            not set: the file may serve other programs as well.

    Raises:
        DotenvError: The file cannot be read or parsed.
    """
    try:
        text = decoded(_content(path))
    except NotTextError as error:
        raise DotenvError([f"{path} must be a readable file (line {error.line} {error})"]) from None
    except OSError as error:
        raise DotenvError([f"{path} must be a readable file ({error.strerror})"]) from None
    values: dict[str, str] = {}
    problems = []
    variables = dict(os.environ)
    for binding in parse_stream(StringIO(text, newline=None)):
        if binding.key is None and not binding.error:
            continue  # a comment, or nothing
        try:
            name, value = _assignment(binding, variables, known)
        except ValueError as error:
            problems.append(f"{path} line {_line(binding)} {error}")
        else:
            values[name.lower()] = variables[name] = value
    if problems:
        raise DotenvError(problems)
    return values


def _content(path: Path) -> bytes:
    """Return what is in a file, but not of a pipe or a device, which might be waited for."""
    try:
        with open(path, "rb", opener=_opened_at_once) as file:
            status = os.fstat(file.fileno())
            # The null device in the place of a file says that there is none.
            is_file = stat.S_ISREG(status.st_mode) or os.path.samestat(
                status, Path(os.devnull).stat()
            )
            content = file.read(_MAX_BYTES + 1) if is_file else b""
    except FileNotFoundError:
        if path.is_symlink():
            raise
        return b""
    if not is_file:
        raise OSError(0, "it is a pipe or a device")
    if len(content) > _MAX_BYTES:
        raise OSError(0, f"it is larger than {_MAX_BYTES} bytes")
    return content


def _opened_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for somebody who writes


def _assignment(
    binding: Binding, variables: Mapping[str, str], known: Container[str]
) -> tuple[str, str]:
    """Return name and value of a line; the text of a `ValueError` reads on from its number."""
    name, value = binding.key, binding.value
    if name is None or value is None or not _NAME.fullmatch(name):
        raise ValueError("must be NAME=value, each quote with its closing quote")
    if _SINGLE_QUOTED.match(binding.original.string):
        return name, value
    atoms = list(parse_variables(value))
    if name.lower() in known and not all(_is_set(atom, variables) for atom in atoms):
        # Without the variable's name, which may be a part of a password.
        raise ValueError(
            f"must not refer to a variable that is not set: {name} has such a ${{...}}, which is "
            "literal only in single quotes"
        )
    return name, "".join(atom.resolve(variables) for atom in atoms)


def _is_set(atom: Atom, variables: Mapping[str, str]) -> bool:
    return not isinstance(atom, Variable) or atom.default is not None or atom.name in variables


def _line(binding: Binding) -> int:
    # The parser counts from the empty lines before it.
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
