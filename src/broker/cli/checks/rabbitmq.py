"""RabbitMQ as it is configured: one node."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from broker.amqp import AmqpError, Rabbit, RefusedError
from broker.amqp.admin import ExchangeReport, NodeReport, ProbeError, QueueReport, probe_node
from broker.cli.checks.delivery_limit import check_limit
from broker.cli.checks.item import Item, doubtful, failed, held
from broker.cli.checks.reach import Target, reach, refusal_after_tls, speaks_tls, tls_wanted
from broker.cli.output import address
from broker.net.endpoints import DEFAULT_LOGIN, AmqpEndpoint
from broker.net.tls import TlsFiles
from broker.net.unusable_file import UnusableFileError
from broker.settings.amqp_nodes import AmqpNodes

_SYSTEMS_TRUST = TlsFiles()
_DEFAULT_EXCHANGE = "amq.default"
"""What the rights of the default exchange are granted on."""
_CERTIFICATES_USER = "USER"
"""Stands for the user that a client certificate names: only RabbitMQ knows it."""
_REFUSED_USER = re.compile(r"refused for user '([^']*)'")


_FLAWS: Mapping[str | None, tuple[str, str]] = {
    "durable": (
        "it is not durable",
        "delete it; the broker creates one that survives a restart of RabbitMQ",
    ),
    "auto_delete": (
        "it deletes itself (auto-delete)",
        "delete it; the broker creates one that stays without consumers",
    ),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the broker wants of a node.

    Attributes:
        name: What the connection is called in RabbitMQ's own listings.
        has_url: Whether it is configured by AMQP_URL rather than by RABBITMQ_*.
        nodes: Where the login is read again, if it may change.
        management_url: RabbitMQ's management API, which alone tells of policies.
        outputs: Those among the queues which the central server must read.
    """

    name: str
    consumed: tuple[str, ...]
    published: tuple[str, ...]
    exchange: str
    has_url: bool
    tls: TlsFiles = _SYSTEMS_TRUST
    nodes: AmqpNodes | None = None
    management_url: str | None = None
    outputs: tuple[str, ...] = ()

    def setting(self, *names: str) -> str:
        """Return which settings hold a part of the address: `RABBITMQ_` with each name."""
        if self.has_url:
            return "AMQP_URL"
        return " and ".join(f"RABBITMQ_{name}" for name in names)


async def check_rabbitmq(rabbit: Rabbit, endpoint: AmqpEndpoint, wanted: Wanted) -> list[Item]:
    """Check one node, in half a minute at most, and without taking or leaving anything.

    Returns the items as far as it came.
    """
    target = Target(
        subject=f"RabbitMQ {address(endpoint.host, endpoint.port)}",
        host=endpoint.host,
        port=endpoint.port,
        settings=wanted.setting("HOST", "PORT"),
        url_setting="AMQP_URL",
        schemes=("amqp://", "amqps://"),
        ca_setting="AMQP_CA_FILE",
        certificate_setting="AMQP_CERT_FILE",
        tls=wanted.tls if endpoint.tls else None,
    )
    reached = await reach(target)
    if not reached[-1].ok:
        return reached
    try:
        report = await probe_node(
            rabbit,
            endpoint,
            name=wanted.name,
            consumed=wanted.consumed,
            published=wanted.published,
            exchange=wanted.exchange,
            tls=wanted.tls,
            nodes=wanted.nodes,
        )
    except ProbeError as error:
        return [*reached, *await _not_let_in(target, endpoint, wanted, error)]
    except AmqpError as error:
        advice = "see RabbitMQ's log, and try again"
        return [*reached, failed(target.subject, "AMQP", str(error), advice)]
    limits = [
        await check_limit(target.subject, endpoint, queue, seen.quorum, wanted.management_url)
        for queue, seen in report.queues.items()
        if seen.quorum is not None
    ]
    return [
        *reached,
        *_let_in(target.subject, endpoint, report.user),
        *_found(target, endpoint, wanted, report),
        *limits,
    ]


async def _not_let_in(
    target: Target, endpoint: AmqpEndpoint, wanted: Wanted, error: ProbeError
) -> list[Item]:
    cause = error.cause
    if isinstance(cause, RefusedError) and (cause.said or cause.stage == "login"):
        return _refused(target.subject, endpoint, wanted, cause, error.user)
    if isinstance(cause, UnusableFileError):
        return [failed(target.subject, "login", str(cause), "correct the file")]
    if not endpoint.tls and await speaks_tls(target):
        return [tls_wanted(target)]
    refusal = await refusal_after_tls(target)
    if refusal is not None:
        return [refusal]
    advice = (
        f"{wanted.setting('HOST', 'PORT')} must lead to RabbitMQ's port for AMQP, by default 5672 "
        "or 5671"
    )
    if isinstance(cause, TimeoutError):
        advice = f"check whether RabbitMQ hangs; {advice}"
    found = cause.found if isinstance(cause, RefusedError) else str(error)
    return [failed(target.subject, "AMQP", f"it does not speak AMQP ({found})", advice)]


def _refused(
    subject: str, endpoint: AmqpEndpoint, wanted: Wanted, refused: RefusedError, user: str
) -> list[Item]:
    """Return the items for a RabbitMQ that says why it lets nobody in."""
    found, advice = refused.found, refused.advice
    login, _ = _let_in(subject, endpoint, user)
    match refused.stage:
        case "login":
            if refused.said and user:
                found = f"RabbitMQ refuses user {user!r} with this password"
                advice = f"correct {wanted.setting('USER', 'PASSWORD')}"
                if user == DEFAULT_LOGIN:
                    advice += "; RabbitMQ accepts guest only from its own machine"
            return [failed(subject, login.name, found, advice)]
        case "vhost":
            return [login, _no_vhost(subject, endpoint, wanted, refused)]
        case "limit":
            return [login, failed(subject, "connections", found, advice)]
        case _:
            return [failed(subject, "AMQP", found, advice)]


def _no_vhost(subject: str, endpoint: AmqpEndpoint, wanted: Wanted, refused: RefusedError) -> Item:
    setting = wanted.setting("VHOST")
    found, advice = refused.found, refused.advice
    user = _REFUSED_USER.search(refused.said)
    if "not found" in refused.said:
        found = f"there is no virtual host {endpoint.vhost!r}"
        advice = f"correct {setting}, or: rabbitmqctl add_vhost {shlex.quote(endpoint.vhost)}"
    elif user is not None and "is down" not in refused.said:
        found = f"user {user[1]!r} has no access to virtual host {endpoint.vhost!r}"
        advice = f"correct {setting}, or: {_grant(endpoint.vhost, user[1], wanted)}"
    return failed(subject, "virtual host", found, advice)


def _let_in(subject: str, endpoint: AmqpEndpoint, user: str) -> list[Item]:
    return [
        held(subject, "login", f"{_who(user)} may log in"),
        held(subject, "virtual host", f"{endpoint.vhost!r} is accessible to that user"),
    ]


def _who(user: str) -> str:
    return f"user {user!r}" if user else "the user of the client certificate"


def _found(
    target: Target, endpoint: AmqpEndpoint, wanted: Wanted, report: NodeReport
) -> Iterator[Item]:
    subject, who = target.subject, _who(report.user)
    for queue, seen in report.queues.items():
        yield _queue(subject, endpoint.user, queue, seen, is_output=queue in wanted.outputs)
    yield _exchange(subject, wanted.exchange, report.exchange)
    lacking = list(_lacking(report, wanted.exchange))
    if lacking:
        found = f"{who} may not {', nor '.join(lacking)}"
        # It replaces what the user has, so it names all that the broker needs.
        granted = _grant(endpoint.vhost, report.user or _CERTIFICATES_USER, wanted)
        yield failed(subject, "permissions", found, f"grant the missing permissions: {granted}")
    else:
        yield held(subject, "permissions", f"{who} has all permissions the broker needs")
    if report.is_blocked:
        found = "an alarm is on: RabbitMQ blocks publishing"
        advice = "free memory or disk space on it; rabbitmq-diagnostics alarms says which"
        yield failed(subject, "alarms", found, advice)
    elif report.may_publish:
        yield held(subject, "alarms", "none, publishing is allowed")


def _queue(subject: str, user: str, queue: str, seen: QueueReport, *, is_output: bool) -> Item:
    name = f"queue {queue}"
    flaw = _flaw(user, queue, seen)
    if flaw is not None:
        return failed(subject, name, *flaw)
    if not seen.exists:
        return held(subject, name, "missing; the broker will create it")
    found = ", ".join(("exists", *_numbers(seen)))
    if not seen.may_configure:
        found += " (more is visible only with permission to configure it)"
    else:
        found += ", durable"
    if seen.differs_in:
        # The broker uses it as it is. Others may not, and declare it.
        found += f", with an {seen.differs_in} for which RabbitMQ refuses who declares it without"
    if is_output and seen.messages and seen.consumers == 0:
        advice = "nobody reads it: check that the central server runs and consumes it"
        return doubtful(subject, name, found, advice)
    return held(subject, name, found)


def _numbers(seen: QueueReport) -> Iterator[str]:
    for number, what in (seen.messages, "message"), (seen.consumers, "consumer"):
        if number is not None:
            yield f"1 {what}" if number == 1 else f"{f'{number:,}' if number else 'no'} {what}s"


def _flaw(user: str, queue: str, seen: QueueReport) -> tuple[str, str] | None:
    """Return what is wrong with a queue and what to do about it, if anything is."""
    if not seen.exists and not seen.may_configure:
        return "missing", "create it, durable, or grant the permissions below"
    if not seen.is_shown:
        # RabbitMQ 4.2.6 and later. Without that right it can be used, but not be created.
        found = f"RabbitMQ does not show it to {user!r}; the broker assumes that it exists"
        return found, f"grant configure on {queue}, or make sure that it exists"
    if seen.problem is not None and seen.problem.startswith("NOT_FOUND"):
        advice = "start the node that has it; or delete the queue, if its messages may be lost"
        return f"down ({seen.problem})", advice
    if seen.problem is not None:
        advice = "close the connection that uses it exclusively, or choose another queue"
        return seen.problem, advice
    if seen.is_stream:
        found = "it is a stream; the broker would miss messages published while it is not running"
        return found, "delete it; the broker creates a queue; or choose another name"
    return _FLAWS.get(seen.differs_in)


def _exchange(subject: str, exchange: str, seen: ExchangeReport) -> Item:
    name = f"exchange {exchange}"
    if seen.exists:
        return held(subject, name, "exists")
    if seen.may_configure:
        return held(subject, name, "missing; the broker will create it")
    return failed(
        subject, name, "missing", "create it, fanout and durable, or grant the permissions below"
    )


def _lacking(report: NodeReport, exchange: str) -> Iterator[str]:
    unread = [name for name, seen in report.queues.items() if seen.may_consume is False]
    if unread:
        yield f"consume {' and '.join(unread)} (read)"
    if not report.may_publish:
        yield f"publish to queues (write on {_DEFAULT_EXCHANGE})"
    if not report.exchange.may_publish:
        yield f"publish to {exchange} (write)"
    if not report.exchange.may_listen:
        yield f"listen to {exchange} (read; configure, write and read on queues named {exchange}.*)"
    uncreated = [
        name for name, seen in report.queues.items() if not (seen.exists or seen.may_configure)
    ]
    if not (report.exchange.exists or report.exchange.may_configure):
        uncreated.append(exchange)
    if uncreated:
        yield f"create {' and '.join(uncreated)} (configure)"


def _grant(vhost: str, user: str, wanted: Wanted) -> str:
    """Return the command that gives a user the rights of a broker, and no more."""
    rights = ((*wanted.consumed, *wanted.published), (_DEFAULT_EXCHANGE,), wanted.consumed)
    # On the exchange, and on the queues with which brokers listen to it.
    always = rf"{re.escape(wanted.exchange)}(\..*)?"
    patterns = (f"^({'|'.join([*map(re.escape, names), always])})$" for names in rights)
    return shlex.join(["rabbitmqctl", "set_permissions", "-p", vhost, user, *patterns])
