"""The encoding of files that hold settings or secrets."""

import codecs

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotTextError(ValueError):
    """The file is not text from a line on, counted from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def decoded(content: bytes) -> str:
    """Return the text of a file, without its byte order mark.

    A file is UTF-8, or UTF-16 when it begins with the byte order mark of that: Windows PowerShell
    writes such files unless it is told otherwise.

    Raises:
        NotTextError: It is neither; the text reads on from "it" and does not quote the file.
    """
    encoding, name = ("utf-16", "UTF-16") if content.startswith(_UTF_16) else ("utf-8-sig", "UTF-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace")
        raise NotTextError(f"is not {name} text", _last_line(before)) from None
    before, zero, _ = text.partition("\0")
    if zero:
        # UTF-16 without a byte order mark looks like this, and nothing that is wanted does.
        raise NotTextError(f"is not {name} text: it contains zero bytes", _last_line(before))
    return text


def _last_line(text: str) -> int:
    return text.count("\n") + 1
