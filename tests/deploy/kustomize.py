"""The manifests as kubectl merges them."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.deploy.repository import ROOT

DIRECTORY = ROOT / "deploy" / "kubernetes"
KUBECTL = shutil.which("kubectl")
_OFFERED = re.compile(r"^( *)# (?=- |patches:|  - )", re.MULTILINE)


def with_options(kustomization: str) -> str:
    """Return a kustomization with everything that it offers in comments."""
    return _OFFERED.sub(r"\1", kustomization)


def merged(directory: Path) -> str:
    """Return the objects that kubectl would apply."""
    assert KUBECTL is not None
    done = subprocess.run(
        [KUBECTL, "kustomize", directory], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout
