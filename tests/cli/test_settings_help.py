"""`broker help settings`, on a terminal and as a document."""

from pathlib import Path

import pytest

from broker.cli.application import execute
from broker.cli.settings_help import settings_document
from broker.settings.model import Settings
from broker.settings.options import options
from broker.settings.setting import settings_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == settings_document(), (
        "renew it: broker help settings --format markdown > docs/settings.md"
    )


def test_the_document_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["help", "settings", "--format", "markdown"]) == 0
    assert capsys.readouterr().out == settings_document()


def test_each_setting_has_a_row() -> None:
    rows = [line for line in settings_document().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [one.variable for one in settings_of(Settings)]
    assert all(row.count("`") % 2 == 0 and row.count("|") == 4 for row in rows)
    assert "| `BROKER_PREFETCH` | `1000` | Unacknowledged deliveries" in settings_document()
    assert "| `WEBSOCKET_ORIGIN` | - | Sent in the WebSocket handshake as `Origin`" in "".join(rows)
    assert "Or `AMQP_URL_FILE`, a file to read it from. |" in settings_document()


@pytest.mark.parametrize("columns", [60, 80, 300])
def test_every_setting_on_a_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert execute(["help", "settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= min(columns, 100)
    assert "`" not in "".join(lines)
    for option in options():
        if option.default is None:
            assert option.variable in " ".join(lines)
        else:
            assert f"{option.variable}={option.default}" in lines
