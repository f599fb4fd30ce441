"""`broker queues`: the broker's durable queues, looked at, migrated, given a policy."""

from collections.abc import Mapping
from typing import Annotated, Literal

from cyclopts import Parameter

from broker.cli.output import Format
from broker.cli.queues import listing, migrating, setting_policies
from broker.cli.queues.policy import DELIVERY_LIMIT
from broker.cli.taking_settings import taking_settings
from broker.cli.validation import is_at_least_one

__all__ = ["list_queues", "migrate_queues", "queue_policy"]

type Switch = Annotated[bool, Parameter(negative="", show_default=False)]


@taking_settings
def list_queues(
    given: Mapping[str, str],
    *,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """List the broker's durable queues. Changes nothing.

    Args:
        given: The settings that the command line gives.
        format: For people or for programs.

    Returns:
        The exit code.
    """
    return listing.run(given, format)


@taking_settings
def migrate_queues(
    given: Mapping[str, str],
    *,
    type: Literal["quorum", "classic"],  # noqa: A002 - named like the option
    dry_run: Switch = False,
    management_url: str | None = None,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Give the broker's durable queues another type, and keep their messages.

    Args:
        given: The settings that the command line gives.
        type: What the queues are to be. A queue that is missing is created.
        dry_run: Only say what would be done.
        management_url: RabbitMQ's management API, such as http://localhost:15672, to apply the
            policies of 'broker queues policy' first, so that quorum queues drop nothing.
        format: For people or for programs.

    Returns:
        The exit code.
    """
    return migrating.run(given, type, format, dry_run=dry_run, management_url=management_url)


@taking_settings
def queue_policy(
    given: Mapping[str, str],
    *,
    delivery_limit: Annotated[int, Parameter(validator=is_at_least_one)] = DELIVERY_LIMIT,
    apply: Switch = False,
    management_url: str | None = None,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Print commands that set a delivery limit and dead-lettering for the queues that are read.

    Args:
        given: The settings that the command line gives.
        delivery_limit: How often a quorum queue takes a message back before it is parked.
        apply: Apply the policies with RabbitMQ's management HTTP API instead.
        management_url: Where that is, such as http://localhost:15672; needed with --apply.
        format: For people or for programs.

    Returns:
        The exit code.
    """
    return setting_policies.run(
        given, format, delivery_limit=delivery_limit, apply=apply, management_url=management_url
    )
