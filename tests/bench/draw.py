"""Plots of figures, drawn in the environment that has matplotlib."""

import subprocess
from pathlib import Path

from tests.bench.environment import PEER_PYTHON


def draw(module: Path, raw: Path, directory: Path) -> None:
    """Draw figures by the `plots.py` beside a module."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run([PEER_PYTHON, module.with_name("plots.py"), raw, directory], check=True)
