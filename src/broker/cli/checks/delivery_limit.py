"""Whether RabbitMQ would drop messages that come back to a quorum queue too often."""

from broker.amqp.admin import QuorumArguments
from broker.cli.checks.item import Item, failed, held
from broker.cli.queues.management import ManagementError, get_policy
from broker.net.endpoints import AmqpEndpoint

_ADVICE = "'broker queues policy' prints or applies policies that dead-letter instead"
_IF_APPLIED = (
    "; if a policy does that already, --management-url http://HOST:15672 lets this check see it"
)


async def check_limit(
    subject: str,
    endpoint: AmqpEndpoint,
    queue: str,
    arguments: QuorumArguments,
    management_url: str | None,
) -> Item:
    """Check a quorum queue; policies are seen only through RabbitMQ's management API."""
    name = f"delivery limit {queue}"
    try:
        policy = await get_policy(management_url, endpoint, queue) if management_url else {}
    except ManagementError as error:
        return failed(subject, name, str(error), "correct it, or --management-url")
    limit = arguments.drops_after(policy)
    if limit is None:
        return held(subject, name, "no message is dropped, however often it is returned")
    return failed(
        subject,
        name,
        f"RabbitMQ drops a message that is returned more than {limit} times",
        _ADVICE if management_url is not None else _ADVICE + _IF_APPLIED,
    )
