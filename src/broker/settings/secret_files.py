"""`X_FILE` beside every secret `X`: the file that holds it."""

from pathlib import Path

from broker.settings.decoding import NotTextError, decoded

SUFFIX = "_file"
_MAX_BYTES = 65_536  # a device or a wrong file must not fill the memory


def read_secret(path: str) -> str:
    """Read a secret; a byte order mark and one line break at the end are not part of it.

    Raises:
        ValueError: The file holds none; the text reads on from the variable's name.
    """
    try:
        return _read(Path(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"must name a readable file with the secret ({reason})") from None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    try:
        text = decoded(content)
    except NotTextError as error:
        raise ValueError(f"it {error}") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError("it is empty")
    return secret
