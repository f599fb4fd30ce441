"""`broker queues policy`."""

from collections.abc import Mapping, Sequence

import msgspec
import trio

from broker.amqp import AmqpEndpoint
from broker.cli.in_session import EXIT_FAILED, EXIT_OK, fail
from broker.cli.output import print_json, print_text
from broker.cli.queues import management
from broker.cli.queues.management import ManagementError
from broker.cli.queues.policy import Policy, policies
from broker.settings import SettingsError, load_settings
from broker.telemetry.one_line import complain, one_line


class Report(msgspec.Struct, frozen=True):
    """What `broker queues policy --format json` prints.

    Attributes:
        policies: All policies.
        applied: The names of those that were set.
    """

    policies: Sequence[Policy]
    applied: Sequence[str]


def run(
    given: Mapping[str, str],
    format: str,  # noqa: A002 - named like the option
    *,
    delivery_limit: int,
    apply: bool,
    management_url: str | None,
) -> int:
    """Print the policies as commands, or set them.

    Args:
        given: The settings that the command line gives.
        format: For people or for programs.
        delivery_limit: How often a message may be returned.
        apply: Whether to set them.
        management_url: RabbitMQ's management API.

    Returns:
        The exit code.
    """
    if apply != (management_url is not None):
        return complain("--apply and --management-url http://localhost:15672 must go together")
    try:
        url = management.address(management_url) if management_url is not None else None
        settings = load_settings(given)
    except SettingsError as error:
        return complain(*error.problems)
    except ValueError as error:
        return complain(f"--management-url {error}")
    wanted = policies(settings, delivery_limit)
    applied: list[str] = []
    if url is not None:
        try:
            trio.run(apply_policies, url, settings.amqp_endpoints[0], wanted, applied)
        except ManagementError as error:
            fail(str(error))
    _print(Report(wanted, applied), format, is_applying=apply)
    return EXIT_OK if not apply or len(applied) == len(wanted) else EXIT_FAILED


async def apply_policies(
    url: str, login: AmqpEndpoint, wanted: Sequence[Policy], applied: list[str]
) -> None:
    """Set policies by the management API.

    Args:
        url: Where the API is.
        login: Whose name and password to use.
        wanted: The policies.
        applied: Gets the names of those that were set, one after the other.

    Raises:
        ManagementError: One was not set.
    """
    for policy in wanted:
        await management.put_policy(url, login, policy)
        applied.append(policy.name)


def _print(report: Report, format: str, *, is_applying: bool) -> None:  # noqa: A002 - as above
    if format == "json":
        print_json(report)
    elif is_applying:
        print_text("".join(f"{one_line(name)}: applied\n" for name in report.applied))
    else:
        print_text("".join(f"{policy.command}\n" for policy in report.policies))
