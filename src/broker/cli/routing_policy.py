"""The routing policy that the settings name, as commands look for it."""

import sys

from broker.core.routing.policy import Policy
from broker.router.policies import find_policy


def configured_policy(name: str) -> str | Policy:
    """Return the policy that the settings name.

    One of the user's own may lie in the working directory, however the broker was started, unless
    Python was told not to import from there (`-P`).

    Raises:
        PolicyNotFoundError: It cannot be loaded.
    """
    if ":" in name and not sys.flags.safe_path and "" not in sys.path:
        sys.path.append("")  # the last, so that nothing there stands in for anything else
    return find_policy(name)
