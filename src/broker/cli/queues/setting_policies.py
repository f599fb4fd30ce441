"""`broker queues policy`."""

from collections.abc import Mapping, Sequence

import trio

from broker.amqp import AmqpEndpoint, AmqpError
from broker.cli.durable_queues import durable_queues
from broker.cli.in_session import EXIT_FAILED, EXIT_OK, fail, open_any_session
from broker.cli.option_types import AtLeastOne, Format, ManagementUrl, Switch
from broker.cli.output import print_json, print_text
from broker.cli.queues.management import ManagementError, put_policy
from broker.cli.queues.policy import DELIVERY_LIMIT, Policy, notes, policies
from broker.cli.taking_settings import taking_settings
from broker.concurrency.error_groups import first_error
from broker.settings import Settings, SettingsError, load_settings
from broker.telemetry.logs import configure_logging
from broker.telemetry.one_line import complain, one_line


@taking_settings
def queue_policy(
    given: Mapping[str, str],
    *,
    delivery_limit: AtLeastOne = DELIVERY_LIMIT,
    apply: Switch = False,
    management_url: ManagementUrl = None,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Print commands that set a delivery limit and dead-lettering for the queues that are read.

    Args:
        delivery_limit: How often a quorum queue takes a message back before it is dead-lettered.
        apply: Apply the policies with RabbitMQ's management HTTP API instead.
        management_url: Where that is, such as http://localhost:15672; needed with --apply.
    """
    if apply != (management_url is not None):
        return complain("--apply and --management-url http://localhost:15672 must go together")
    try:
        settings = load_settings(given)
    except SettingsError as error:
        return complain(*error.problems)
    # What goes wrong is said in one line, below.
    configure_logging("critical", "console")
    wanted = policies(settings, delivery_limit)
    applied: list[str] = []
    if management_url is not None:
        try:
            trio.run(apply_policies, management_url, settings.amqp_endpoints[0], wanted, applied)
        except ManagementError as error:
            fail(str(error))
    is_done = not apply or len(applied) == len(wanted)
    has_no_effect = trio.run(_notes, settings) if is_done else ()
    if format == "json":
        print_json({"policies": wanted, "applied": applied, "notes": has_no_effect})
    elif apply:
        print_text("".join(f"{one_line(name)}: applied\n" for name in applied))
    else:
        print_text("".join(f"{policy.command}\n" for policy in wanted))
    if format == "text":
        complain(*has_no_effect)
    return EXIT_OK if is_done else EXIT_FAILED


async def _notes(settings: Settings) -> Sequence[str]:
    types: dict[str, str | None] = {}
    problem = None
    try:
        async with open_any_session(settings, "queues") as session:
            queues = await session.queues()
            for queue in durable_queues(settings):
                if queue.is_consumed:
                    state = await queues.look(queue.name)
                    types[queue.name] = "missing" if state is None else state.type
    except* AmqpError as errors:
        problem = str(first_error(errors))
    if problem is not None:
        unknown = f"the types of the queues are unknown ({problem})"
        return [f"{unknown}; a delivery limit has an effect on quorum queues only"]
    return notes(types)


async def apply_policies(
    url: str, login: AmqpEndpoint, wanted: Sequence[Policy], applied: list[str]
) -> None:
    """Set policies by the management API, and add the names of those that were set to `applied`.

    Raises:
        ManagementError: One was not set.
    """
    for policy in wanted:
        await put_policy(url, login, policy)
        applied.append(policy.name)
