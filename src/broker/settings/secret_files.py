"""`X_FILE` alongside every secret `X`: the file that holds it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker.net.unusable_file import UnusableFileError
from broker.settings.decoding import NotTextError, decoded

SUFFIX = "_file"
_MAX_BYTES = 65_536  # a device or a wrong file must not fill the memory


@dataclass(frozen=True, slots=True)
class SecretFile:
    """The file of a secret that may be replaced while the broker runs.

    Attributes:
        variable: The secret's variable, without `_FILE`.
        parse: Checks the secret; its `ValueError` reads on from the variable's name.
    """

    variable: str
    path: str
    parse: Callable[[str], object] = field(repr=False)

    def read(self) -> str:
        """Read the secret that is in the file now. It blocks, as the file may lie in a network.

        Raises:
            UnusableFileError: The file holds no secret that can be used.
        """
        try:
            secret = read_secret(self.path)
        except ValueError as error:
            raise UnusableFileError(f"{self.variable}{SUFFIX.upper()} {error}") from None
        try:
            self.parse(secret)
        except ValueError as error:
            raise UnusableFileError(f"{self.variable} {error}") from None
        return secret


def read_secret(path: str) -> str:
    """Read a secret; a byte order mark and one line break at the end are not part of it.

    Raises:
        ValueError: The file holds none; the text reads on from the variable's name.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise _unreadable(f"it is larger than {_MAX_BYTES} bytes")
        secret = decoded(content).removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from None
    except NotTextError as error:
        raise _unreadable(f"it {error}") from None
    if not secret:
        raise _unreadable("it is empty")
    return secret


def _unreadable(reason: str) -> ValueError:
    return ValueError(f"must name a readable file with the secret ({reason})")
