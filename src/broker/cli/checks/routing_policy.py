"""The routing policy: one of the broker's, or one of the user's own that can be loaded."""

from broker.cli.checks.item import Item, failed, held
from broker.cli.routing_policy import configured_policy
from broker.router.policies import PolicyNotFoundError


def check_policy(name: str) -> Item:
    """Check that the policy of this name can be loaded; it is not asked anything."""
    subject, what = "routing", "policy"
    try:
        policy = configured_policy(name)
    except PolicyNotFoundError as error:
        return failed(subject, what, f"BROKER_ROUTING_POLICY {error.problem}", error.advice)
    return held(subject, what, name if policy == name else f"{name} can be loaded")
