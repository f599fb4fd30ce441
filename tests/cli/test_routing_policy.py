"""A routing policy of the user's own: where it is found, and what is said when it is not."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from broker.cli.application import execute
from broker.cli.checks.routing_policy import check_policy
from broker.core.routing.policy import Policy
from broker.settings import Settings
from tests.cli.commands import PATIENCE

SOUND = """
def choose(message, agents):
    return agents.random()

class Choosing:
    def __call__(self, message, agents):
        return agents.random()

instance = Choosing()
"""
UNFIT = """
from dataclasses import dataclass

number = 5

async def waiting(message, agents):
    return agents.random()

class Waiting:
    async def __call__(self, message, agents):
        return agents.random()

class Ungrateful:
    def __init__(self):
        raise KeyError("no\\nidea")

@dataclass
class Demanding:
    size: int

    def __call__(self, message, agents):
        return agents.random()
"""

# What the setting names, what is wrong with it, and what to do.
WRONG = [
    (
        "absent_policy:choose",
        "cannot be loaded: ModuleNotFoundError: No module named 'absent_policy'",
        "put the directory in which it lies into PYTHONPATH",
    ),
    (
        "absent.package.policy:choose",
        "cannot be loaded: ModuleNotFoundError: No module named 'absent'",
        "put the directory in which it lies into PYTHONPATH",
    ),
    (
        "sound_policy:chose",
        "cannot be loaded: AttributeError: module 'sound_policy' has no attribute 'chose'",
        "correct the name after the colon",
    ),
    (
        "unfit_policy:number",
        "is no policy: it cannot be called",
        "name a function or a class",
    ),
    ("unfit_policy:waiting", "is no policy: it is async", "it must choose without waiting"),
    ("unfit_policy:Waiting", "is no policy: it is async", "it must choose without waiting"),
    (
        "unfit_policy:Ungrateful",
        r"cannot be loaded: KeyError: 'no\nidea'",
        "a class must take no arguments; an object that is a policy may be named as well",
    ),
    (
        "unfit_policy:Demanding",
        (
            "cannot be loaded: TypeError: Demanding.__init__() missing 1 required positional"
            " argument: 'size'"
        ),
        "a class must take no arguments; an object that is a policy may be named as well",
    ),
    (
        "needing_policy:choose",
        "cannot be loaded: ModuleNotFoundError: No module named 'what_it_needs'",
        'python -c "import needing_policy" shows where it fails',
    ),
    (
        "raising_policy:choose",
        "cannot be loaded: ZeroDivisionError: division by zero",
        'python -c "import raising_policy" shows where it fails',
    ),
    (
        "leaving_policy:choose",
        "cannot be loaded: SystemExit: 0",
        'python -c "import leaving_policy" shows where it fails',
    ),
    (
        "unwritten_policy:choose",
        "cannot be loaded: SyntaxError: '(' was never closed (unwritten_policy.py, line 1)",
        'python -c "import unwritten_policy" shows where it fails',
    ),
]
MODULES = {
    "sound_policy": SOUND,
    "unfit_policy": UNFIT,
    "needing_policy": "import what_it_needs\n",
    "raising_policy": "1 / 0\n",
    "leaving_policy": "import sys\nsys.exit(0)\n",
    "unwritten_policy": "choose = (\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files in the working directory, from which this process has not imported yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, source in MODULES.items():
        (tmp_path / f"{name}.py").write_text(source)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str | Policy]:
    """The policies that the service was run with, which stops at once."""
    policies: list[str | Policy] = []

    def run(_: Settings, policy: str | Policy) -> int:
        policies.append(policy)
        return 0

    module = ModuleType("broker.service")
    vars(module)["run"] = run
    monkeypatch.setitem(sys.modules, "broker.service", module)
    return policies


@pytest.mark.parametrize("name", ["random", "least_outstanding", "consistent_hash"])
def test_those_of_the_broker(name: str, served: list[str | Policy]) -> None:
    assert execute(["run", "--broker-routing-policy", name]) == 0
    assert served == [name]
    assert check_policy(name).found == name


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("choose", lambda module: module.choose),
        ("instance", lambda module: module.instance),
    ],
)
def test_one_in_the_working_directory(
    name: str, chosen: Callable[[ModuleType], Policy], served: list[str | Policy]
) -> None:
    assert execute(["--broker-routing-policy", f"sound_policy:{name}"]) == 0
    assert served == [chosen(sys.modules["sound_policy"])]
    item = check_policy(f"sound_policy:{name}")
    assert (item.ok, item.found) == (True, f"sound_policy:{name} can be loaded")


def test_a_class_is_instantiated(served: list[str | Policy]) -> None:
    assert execute(["--broker-routing-policy", "sound_policy:Choosing"]) == 0
    [policy] = served
    assert type(policy) is sys.modules["sound_policy"].Choosing


def test_nothing_in_the_working_directory_stands_in_for_a_module(
    tmp_path: Path, served: list[str | Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    (tmp_path / "colorsys.py").write_text("raise AssertionError('not this one')\n")
    assert execute(["--broker-routing-policy", "colorsys:rgb_to_hls"]) == 0
    assert served == [sys.modules["colorsys"].rgb_to_hls]


@pytest.mark.parametrize(("name", "problem", "advice"), WRONG)
def test_a_wrong_one_is_named_with_what_to_do(
    name: str,
    problem: str,
    advice: str,
    served: list[str | Policy],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert execute(["run", "--broker-routing-policy", name]) == 2
    captured = capsys.readouterr()
    assert served == []
    assert captured.out == ""
    found = f"BROKER_ROUTING_POLICY names {name!r}, which {problem}"
    assert captured.err == f"broker: {found}; {advice}\n"
    item = check_policy(name)
    assert (item.ok, item.found, item.advice) == (False, found, advice)
    assert (item.subject, item.name) == ("routing", "policy")


def test_a_process_that_is_not_to_import_from_its_directory() -> None:
    process = subprocess.run(
        [sys.executable, "-P", "-m", "broker", "--broker-routing-policy", "sound_policy:choose"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (process.returncode, process.stdout) == (2, "")
    [line] = process.stderr.splitlines()
    assert line.startswith("broker: BROKER_ROUTING_POLICY names 'sound_policy:choose', which ")
