"""`broker help settings`: every setting, for a terminal.

The texts are in Markdown, as they are those of docs/settings.md as well.
"""

from collections.abc import Iterator
from shutil import get_terminal_size
from textwrap import fill

from broker.cli.output import print_text
from broker.settings.model import Settings
from broker.settings.options import written
from broker.settings.secret_files import SUFFIX
from broker.settings.setting import Setting, settings_of

INTRODUCTION = r"""
A setting comes from the command line (`--rabbitmq-host`), the environment (`RABBITMQ_HOST`), a
file `.env` in the working directory, or is its default, in this order. `broker config` shows the
values in use and where each comes from, `broker config --env` prints a template for `.env`. Wrong
values stop the start with exit code 2 and a line for each.

Secrets can be read from files: `RABBITMQ_PASSWORD_FILE`, `AMQP_URL_FILE`,
`BROKER_WEBSOCKET_TOKEN_FILE`. A byte order mark and one trailing line break are not part of the
secret. These files, and those of certificates and keys, are read again for each new connection, so
rotating them needs no restart. (A pipe is read once.)

`.env` has lines `NAME=value`, with or without `export`, and comments after `#`. Single quotes keep
a value literal, except for `\'` and `\\`. Elsewhere `${NAME}` and `${NAME:-default}` are replaced;
an unset `${NAME}` is an error. If a name occurs several times, the last line wins. If the file
cannot be read or a line cannot be parsed, the broker exits with code 2 and names the line.
"""
NOTES = """
RabbitMQ serves a queue on one core, so `BROKER_INPUT_QUEUE` and `BROKER_OUTPUT_QUEUE` may name
several. A hash of the agent's id picks the output queue, so all messages for an agent go to the
same one; everything else goes to the first. All brokers must list the same output queues in the
same order; input queues may differ.

Logs go to standard error, one line per event, without message bodies and secrets.
"""
_WIDEST = 100


def settings_help() -> int:
    """Show every setting with its default and its meaning."""
    width = min(_WIDEST, get_terminal_size().columns)
    settings = (_block(one, width) for one in settings_of(Settings))
    paragraphs = (*_paragraphs(INTRODUCTION, width), *settings, *_paragraphs(NOTES, width))
    print_text("\n".join(paragraphs))
    return 0


def meaning(one: Setting) -> str:
    """Return what a setting means, and where else it may come from."""
    if not one.is_secret:
        return one.description
    return f"{one.description} Or {one.variable}{SUFFIX.upper()}, a file to read it from."


def _paragraphs(text: str, width: int) -> Iterator[str]:
    for paragraph in text.strip().replace("`", "").split("\n\n"):
        yield f"{fill(paragraph, width, break_long_words=False)}\n"


def _block(one: Setting, width: int) -> str:
    default = written(one.default)
    head = one.variable if default is None else f"{one.variable}={default}"
    indented = fill(
        meaning(one),
        width,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{head}\n{indented}\n"
