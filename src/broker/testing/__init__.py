"""Test a routing policy of your own.

`check_policy` looks for a case in which it breaks a law of routing; `candidates` and `chat_message`
make what to call it with. The package needs Hypothesis, which `agent-broker[testing]` installs, so
nothing else of the broker imports it.
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
