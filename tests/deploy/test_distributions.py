"""The wheel and the source distribution: what is in them, and with which packages they work."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.deploy.repository import ROOT, read

pytestmark = pytest.mark.exhaustive

PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
DEVELOPMENT = tomllib.loads(read("pyproject.toml"))["dependency-groups"]["dev"]
SUITE = (
    *("tests/amqp", "tests/central", "tests/cli", "tests/core/test_codec.py", "tests/net"),
    *("tests/settings", "tests/status/http", "tests/telemetry", "tests/test_service.py"),
)
"""Tests of what uses a dependency, apart from those that need a browser."""
TOOLS = ("hypothesis", "pytest", "pytest-trio", "pytest-xdist", "pyyaml", "trustme", "jsonschema")
_TIMEOUT = 1800


def test_it_builds_the_same_anywhere_and_from_its_own_source(
    distributions: Path, tmp_path: Path
) -> None:
    again = build(copy_source(tmp_path / "elsewhere"), tmp_path, umask=0o077, TZ="Asia/Tokyo")
    assert hashes(again) == hashes(distributions)
    [archive] = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    unpacked = build(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "unpacked")
    assert hashes(unpacked) == hashes(distributions)


def test_the_wheel_holds_the_package_and_its_licence_only(distributions: Path) -> None:
    [file] = distributions.glob("*.whl")
    with ZipFile(file) as wheel:
        names = wheel.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        described = Parser().parsestr(wheel.read(metadata).decode())
    assert {name.split("/")[0] for name in names} == {"broker", metadata.split("/")[0]}
    assert "broker/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not [name for name in names if "test_" in name or "conftest" in name]
    assert described["Name"] == PROJECT["name"]
    assert described["License-Expression"] == "MIT"
    assert described["Requires-Python"] == PROJECT["requires-python"]
    assert described["Description-Content-Type"] == "text/markdown"
    assert described.get_payload() == read("README.md")


def test_the_source_holds_what_builds_it_only(distributions: Path) -> None:
    [file] = distributions.glob("*.tar.gz")
    with tarfile.open(file) as source:
        parts = {name.split("/", 1)[1].split("/")[0] for name in source.getnames()}
    others = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    assert parts == {"src", "docs", *others}


@pytest.mark.parametrize("versions", ["lowest", "newest"])
def test_it_works_with_the_packages_that_it_asks_for(
    versions: str, distributions: Path, tmp_path: Path
) -> None:
    [wheel] = distributions.glob("*.whl")
    python = tmp_path / "environment/bin/python"
    run(sys.executable, "-m", "venv", str(tmp_path / "environment"))
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(lowest()) if versions == "lowest" else "")
    install = (str(python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints))
    run(*install, str(wheel))
    run(str(python), "-m", "pip", "check")
    run(str(python), "-c", IMPORT_ALL, directory=tmp_path)
    run(str(tmp_path / "environment/bin/broker"), "--version", directory=tmp_path)

    run(*install, f"{wheel}[testing]", *(developed_with(name) for name in TOOLS))
    # Without the source: what is tested is what was installed.
    suite = copy_source(tmp_path / "suite")
    shutil.rmtree(suite / "src")
    arguments = ("-q", "--numprocesses=2", "-m", "not rabbitmq and not exhaustive", *SUITE)
    said = run(str(python), "-m", "pytest", *arguments, directory=suite)
    assert re.search(r"\d{3,} passed", said)


IMPORT_ALL = """
import pkgutil, broker
for module in pkgutil.walk_packages(broker.__path__, "broker."):
    if module.name.endswith("__main__"):
        continue
    try:
        __import__(module.name)
    except ImportError as error:
        # Only extras have them.
        if not any(extra in str(error).lower() for extra in ("hypothesis", "opentelemetry")):
            raise
assert "site-packages" in broker.__file__
"""


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("distributions")
    return build(copy_source(directory / "source"), directory)


def copy_source(to: Path) -> Path:
    """Copy what Git tracks, and new files that it does not ignore."""
    listed = ("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z")
    for name in run(*listed, "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)
    return to


def build(source: Path, directory: Path, *, umask: int = -1, **environment: str) -> Path:
    run(
        *(sys.executable, "-m", "hatchling", "build", "-d", str(directory / "dist")),
        directory=source,
        umask=umask,
        SOURCE_DATE_EPOCH="1000000000",
        **environment,
    )
    return directory / "dist"


def hashes(distributions: Path) -> Mapping[str, str]:
    found = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in distributions.iterdir()
    }
    assert len(found) == 2
    return found


def lowest() -> Iterator[str]:
    """Yield the lowest version of each package that is asked for, as a constraint."""
    extras = PROJECT["optional-dependencies"].values()
    for requirement in (*PROJECT["dependencies"], *(one for extra in extras for one in extra)):
        bounds = re.fullmatch(r"([\w-]+)>=([\d.]+)(,<[\d.]+)?", requirement)
        assert bounds is not None, requirement
        yield f"{bounds[1]}=={bounds[2]}"


def developed_with(name: str) -> str:
    [requirement] = [one for one in DEVELOPMENT if re.match(rf"{name}[>=<]", one)]
    return str(requirement)


def run(*command: str, directory: Path = ROOT, umask: int = -1, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        umask=umask,
        env={**inherited, **environment},
        timeout=_TIMEOUT,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
