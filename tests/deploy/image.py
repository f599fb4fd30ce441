"""The image, built by buildah as `docker build` would, and its file system.

The base image is not downloaded. Debian 13 with its Python 3.13 in a virtual environment under
/usr/local, where the base image has its own, stands in for it.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.container import Recipe
from tests.deploy.repository import ROOT

BASE = "python:3.13-slim"
VERSION, REVISION = "1.2.3", "abcdef"
_NAME = "agent-broker"
_ABSENT = (
    *("./usr/include", "./usr/lib/erlang", "./usr/lib/gcc", "./usr/lib/rabbitmq", "./usr/libexec"),
    *("./usr/share/doc", "./usr/share/locale", "./usr/share/man", "./usr/share/nodejs"),
    *("./var/cache", "./var/lib/apt"),
)
"""Parts of the tree that would only cost time."""
_TIMEOUT = 900


@dataclass(frozen=True, slots=True)
class Image:
    """An image whose file system is mounted.

    Attributes:
        root: Where its file system is mounted.
        config: What it says about how to run it, in the words of Docker's format.
        added_bytes: The size of its layers without those of the base image, uncompressed.
    """

    root: Path
    config: Mapping[str, Any]
    added_bytes: int

    @property
    def health_check(self) -> Sequence[str]:
        """The command that an engine runs inside."""
        kind, *command = map(str, self.config["Healthcheck"]["Test"])
        assert kind == "CMD"
        return command

    def recipe(self, environment: Mapping[str, str], **recipe: Any) -> Recipe:
        """Say how to run it, with variables beside its own, and other things of a test's own."""
        own = dict(pair.split("=", 1) for pair in self.config["Env"])
        return Recipe(
            self.root,
            environment={**own, **environment},
            user=self.config["User"],
            directory=self.config["WorkingDir"],
            **{"command": self.config["Entrypoint"], **recipe},
        )


def build_image(tree: Path, directory: Path) -> Image:
    """Build the image on a Debian 13 tree; all that is written lies in the directory."""
    store = _Store(directory)
    base = store.run("from", "scratch")
    root = store.run("mount", base)
    absent = (f"--exclude={path}" for path in _ABSENT)
    copying = 'from=$1 to=$2; shift 2; tar -c -C "$from" "$@" . | tar -x -C "$to"'
    _run("sh", "-ec", copying, "sh", str(tree), root, *absent)
    _run("chroot", root, "/usr/bin/python3", "-m", "venv", "/usr/local")
    store.run("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", base)
    store.run("commit", "--rm", base, BASE)
    arguments = (f"--build-arg=VERSION={VERSION}", f"--build-arg=REVISION={REVISION}")
    store.run(
        *("build", "--format=docker", "--isolation=chroot", "--pull-never", f"--tag={_NAME}"),
        *(*arguments, *_pip_settings(directory), str(ROOT)),
    )
    return Image(
        root=Path(store.run("mount", store.run("from", "--pull-never", _NAME))),
        config=json.loads(store.run("inspect", "--type=image", _NAME))["Docker"]["config"],
        added_bytes=sum(store.layer_sizes(_NAME)[1:]),  # the base is one layer
    )


class _Store:
    """Buildah's images and containers in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._options = (
            *("--root", str(directory / "storage"), "--runroot", str(directory / "run")),
            *("--storage-driver", "vfs"),
        )

    def run(self, command: str, *arguments: str) -> str:
        """Run a command of buildah's, and return what it prints."""
        return _run("buildah", *self._options, command, *arguments)

    def layer_sizes(self, image: str) -> Sequence[int]:
        pushed = self._directory / "pushed"
        self.run("push", "--disable-compression", image, f"dir:{pushed}")
        manifest = json.loads((pushed / "manifest.json").read_text())
        return [layer["size"] for layer in manifest["layers"]]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def _pip_settings(directory: Path) -> Iterator[str]:
    """Mount pip's settings on this machine, and what they name, for the length of the build."""
    listed = _run(sys.executable, "-m", "pip", "config", "list")
    settings: dict[str, list[str]] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = ast.literal_eval(value).split()
    file = directory / "pip.conf"
    lines = ["[global]", *(f"{name} = {'\n  '.join(words)}" for name, words in settings.items())]
    file.write_text("\n".join(lines))
    yield f"--volume={file}:/etc/pip.conf:ro"
    named = {_named_path(word) for words in settings.values() for word in words}
    for path in sorted(path for path in named if path is not None and path.exists()):
        yield f"--volume={path}:{path}:ro"


def _named_path(word: str) -> Path | None:
    # The pages of an index link to files alongside it.
    if word.startswith("file:///"):
        return Path(word.removeprefix("file://")).parent
    return Path(word) if word.startswith("/") else None
