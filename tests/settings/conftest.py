from pathlib import Path

import pytest

from tests.settings.surroundings import clear_surroundings


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clear_surroundings(monkeypatch, tmp_path)
