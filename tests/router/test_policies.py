"""Policies of the user's own, by their names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.router.policies import PolicyNotFoundError, find_policy

MODULE = """
def choose(message, agents):
    return agents.random()

class Sticky:
    def __call__(self, message, agents):
        return agents.random()

class Demanding(Sticky):
    def __init__(self, path):
        pass

class NoPolicy:
    pass

sticky = Sticky()
nothing = None
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules where Python looks for them, and out of its memory afterwards."""
    package = tmp_path / "someones"
    package.mkdir()
    (package / "policies.py").write_text(MODULE)
    (package / "broken.py").write_text("raise RuntimeError('it needs\\na GPU')")
    (package / "odd.py").write_text("this is no Python")
    (package / "lacking.py").write_text("import a_module_that_nobody_has")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "someones"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["random", "least_outstanding", "consistent_hash"])
def test_names_of_the_brokers_policies_are_left_to_it(name: str) -> None:
    assert find_policy(name) == name


@pytest.mark.parametrize("name", ["choose", "sticky"])
def test_a_function_or_an_object_is_found(name: str) -> None:
    policy = find_policy(f"someones.policies:{name}")
    assert policy is getattr(sys.modules["someones.policies"], name)


def test_a_class_is_instantiated() -> None:
    policy = find_policy("someones.policies:Sticky")
    assert type(policy).__name__ == "Sticky"
    assert find_policy("someones.policies:Sticky") is not policy


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("someones.policies:missing", "which cannot be loaded: AttributeError: module"),
        ("someones.policies:", "which cannot be loaded: AttributeError"),
        ("nobodys:policy", "which cannot be loaded: ModuleNotFoundError: No module named"),
        (":policy", "which cannot be loaded: ValueError"),
        (".policies:choose", "which cannot be loaded: TypeError"),
        ("someones.broken:policy", "which cannot be loaded: RuntimeError: it needs a GPU"),
        ("someones.odd:policy", "which cannot be loaded: SyntaxError"),
        ("someones.lacking:policy", "ModuleNotFoundError: No module named 'a_module_that_nobody"),
        ("someones.policies:Demanding", "which cannot be loaded: TypeError"),
        ("someones.policies:NoPolicy", "which is no policy: it cannot be called"),
        ("someones.policies:nothing", "which is no policy: it cannot be called"),
    ],
)
def test_what_is_no_policy_is_refused_in_one_line(name: str, problem: str) -> None:
    with pytest.raises(PolicyNotFoundError) as raised:
        find_policy(name)
    text = str(raised.value)
    assert text.startswith(f"names {name!r}, which ")
    assert problem in text
    assert "\n" not in text
