"""For the tests of programs that bring a routing policy of their own.

Nothing of the broker imports it: it needs Hypothesis, which `agent-broker[testing]` installs.
"""

try:
    import hypothesis  # noqa: F401 - only to say how to get it
except ModuleNotFoundError as error:
    raise ImportError(
        "broker.testing needs Hypothesis: pip install 'agent-broker[testing]'"
    ) from error

from broker.testing.policy_check import check_policy
from broker.testing.samples import candidates, chat_message

__all__ = ["candidates", "chat_message", "check_policy"]
