"""Find the routing policy that a setting names."""

from importlib import import_module
from typing import cast

from broker.core.routing.policy import Policy


class PolicyNotFoundError(ValueError):
    """There is no such policy. Its text reads on from the name of the setting."""


def find_policy(name: str) -> str | Policy:
    """Return a policy of the user's own, `package.module:name`, or the name of one of the broker's.

    A class is instantiated.

    Raises:
        PolicyNotFoundError: It cannot be imported or instantiated, or is no policy.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        return name
    try:
        policy = getattr(import_module(module_name), attribute)
        if isinstance(policy, type):
            policy = policy()
    except Exception as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise PolicyNotFoundError(f"names {name!r}, which cannot be loaded: {problem}") from error
    if not callable(policy):
        raise PolicyNotFoundError(f"names {name!r}, which is no policy: it cannot be called")
    return cast("Policy", policy)
