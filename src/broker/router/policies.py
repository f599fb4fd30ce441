"""Find the routing policy that a setting names."""

from importlib import import_module
from inspect import iscoroutinefunction
from typing import cast

from broker.core.routing.policy import Policy


class PolicyNotFoundError(ValueError):
    """There is no such policy. Its text reads on from the name of the setting.

    Attributes:
        problem: What is wrong, likewise.
        advice: What to do about it.
    """

    def __init__(self, name: str, problem: str, advice: str) -> None:
        self.problem = f"names {name!r}, which {problem}"
        self.advice = advice
        super().__init__(f"{self.problem}; {advice}")


def find_policy(name: str) -> str | Policy:
    """Return a policy of the user's own, `package.module:name`, or the name of one of the broker's.

    A class is instantiated.

    Raises:
        PolicyNotFoundError: It cannot be imported or instantiated, or is no policy.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        return name
    policy = _loaded(name, module_name, attribute)
    if not callable(policy):
        problem = "is no policy: it cannot be called"
        raise PolicyNotFoundError(name, problem, "name a function or a class")
    if iscoroutinefunction(policy) or iscoroutinefunction(type(policy).__call__):
        problem = "is no policy: it is async"
        raise PolicyNotFoundError(name, problem, "it must choose without waiting")
    return cast("Policy", policy)


def _loaded(name: str, module_name: str, attribute: str) -> object:
    # What is imported is somebody else's, and may do anything, such as leave.
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        is_absent = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(
            f"{error.name}."
        )
        advice = (
            "put the directory in which it lies into PYTHONPATH"
            if is_absent
            else f'python -c "import {module_name}" shows where it fails'
        )
        raise _not_loaded(name, error, advice) from error
    try:
        policy = getattr(module, attribute)
    except AttributeError as error:
        raise _not_loaded(name, error, "correct the name after the colon") from error
    if not isinstance(policy, type):
        return policy
    try:
        return policy()
    except (Exception, SystemExit) as error:
        advice = "a class must take no arguments; an object that is a policy may be named as well"
        raise _not_loaded(name, error, advice) from error


def _not_loaded(name: str, error: BaseException, advice: str) -> PolicyNotFoundError:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return PolicyNotFoundError(name, f"cannot be loaded: {text}", advice)
