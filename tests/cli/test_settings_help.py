"""`broker help settings`, and the document with the same."""

import pytest

from broker.cli.application import execute
from broker.settings.model import Settings
from broker.settings.options import options
from broker.settings.setting import settings_of
from tests.documents.settings import settings_reference


def test_each_setting_has_a_row_in_the_document() -> None:
    reference = settings_reference()
    rows = [line for line in reference.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [one.variable for one in settings_of(Settings)]
    assert all(row.count("`") % 2 == 0 and row.count("|") == 4 for row in rows)
    assert "| `BROKER_PREFETCH` | `1000` | Unacknowledged deliveries" in reference
    assert "| `WEBSOCKET_ORIGIN` | - | Sent in the WebSocket handshake as `Origin`" in reference
    assert "Or `AMQP_URL_FILE`, a file to read it from. |" in reference


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
