"""The parts of the broker, made from its settings."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import randrange

import structlog
import trio

from broker.amqp import AmqpLink, HeldQueue, Rabbit, Refusals, SessionParameters, SettlementObserver
from broker.central import CentralLink, ServerAddress, SessionTerms
from broker.concurrency.wakeup import Gate
from broker.core.routing.policy import Policy
from broker.core.routing.receivers import ReceiverRule
from broker.net.backoff import Backoff
from broker.router.choosing import RoutingOptions
from broker.router.holding import Holding
from broker.router.mailbox import Mailbox
from broker.router.rules import Limits, Topology
from broker.router.task import Router
from broker.settings import Settings
from broker.status.http import serve_http
from broker.status.ready import report_ready
from broker.status.vitals import Vitals
from broker.telemetry.logs import log_as
from broker.telemetry.tally import MessageTally, PublishTally, ServerTally
from broker.tracing.traces import open_traces
from broker.version import __version__

_CLOSING_TIME = 4.0
"""Seconds of the stop that are kept for closing connections, or half of it when it is short."""
_LAST_SECOND = 1.0
"""Seconds at its end that are kept for the end of the process, or an eighth of it."""
_EXPORT_TIME = 2.0
"""Seconds, while connections close, that the last spans have to leave, or a quarter of it."""
_LOOK_INTERVAL = 3.0
"""Seconds between two looks at how many messages are in a queue."""
_LOOK_INTERVAL_OF_HELD = 1.0
"""The same for the queue of held messages, which is consumed when there are some."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class StopTimes:
    """How the seconds of a stop are spent. Both are counted from its beginning."""

    settle_within: float  # when everything that was taken must be settled
    close_within: float  # when all connections must be closed

    @classmethod
    def of(cls, settings: Settings) -> "StopTimes":
        """Divide `broker_shutdown_timeout`."""
        whole = settings.broker_shutdown_timeout
        return cls(
            settle_within=whole - min(_CLOSING_TIME, whole / 2),
            close_within=whole - min(_LAST_SECOND, whole / 8),
        )


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What runs. `http`, `router`, `central` and `amqp` run until they are cancelled.

    Attributes:
        report_ready: Logs that the broker is ready, once it is, and returns.
        drain: Stops consuming, and returns whether all that was taken is settled.
        export_traces: Exports the last traces, in a time of its own whatever is cancelled.
    """

    http: Callable[[], Awaitable[None]]
    report_ready: Callable[[], Awaitable[None]]
    router: Callable[[], Awaitable[None]]
    central: Callable[[], Awaitable[None]]
    amqp: Callable[[], Awaitable[None]]
    drain: Callable[[], Awaitable[bool]]
    export_traces: Callable[[], Awaitable[None]]


def assemble(settings: Settings, policy: str | Policy, rabbit: Rabbit, stop: trio.Event) -> Parts:
    """Make the parts and connect them. To be called under Trio: the registry ages from then on.

    Args:
        policy: Chooses the receivers: one of the broker's by its name, or one of the user's own.
        stop: Set once a stop has begun; for the status.
    """
    broker_id = f"broker_{randrange(10_000):04}"
    log_as(broker_id)
    _log.info("broker_starting", version=__version__, broker_id=broker_id, pid=os.getpid())
    consumption = Gate()
    messages, publishings, from_server = MessageTally(), PublishTally(), ServerTally()
    topology, refusals = _topology(settings), Refusals()
    traces = open_traces(os.environ, lambda: amqp.endpoint)
    mailbox = Mailbox(topology.inputs, topology.held)
    holding = Holding(settings.broker_hold)
    central = _central_link(settings, broker_id, from_server)
    amqp = AmqpLink(
        rabbit.open_session,
        sessions=_sessions(
            settings, topology, broker_id, tally=publishings, refusals=refusals, observer=traces
        ),
        gated_queues=topology.inputs,
        other_queues=(topology.registry_exchange, topology.metadata, topology.advertisement),
        consumption=consumption,
        held=HeldQueue(topology.held, holding.gate if settings.broker_hold else None),
        backoff=Backoff(),
    )

    hold = partial(
        holding.run,
        may_pass=lambda: consumption.is_open and not amqp.is_blocked,
        is_consumed=lambda: topology.held in amqp.consumed,
        count=lambda: amqp.messages_in(topology.held),
    )
    router = Router(
        topology=topology,
        broker_id=broker_id,
        limits=Limits(
            max_message_bytes=settings.broker_max_message_bytes,
            max_agents=settings.broker_max_agents,
            max_hops=settings.broker_max_hops,
        ),
        refusals=refusals,
        tally=messages,
        registry_ttl=settings.broker_registry_ttl,
        consumption=consumption,
        central=central,
        routing=RoutingOptions(
            policy=policy,
            receiver=ReceiverRule(settings.broker_receiver),
            answer_timeout=settings.broker_answer_timeout,
            max_unanswered=settings.broker_max_unanswered,
        ),
        holding=holding,
        trace=None if traces is None else traces.record,
    )
    vitals = Vitals(
        broker_name=settings.broker_name,
        queues=topology,
        prefetch=settings.broker_prefetch,
        router=router,
        mailbox=mailbox,
        amqp=amqp,
        rabbit=rabbit,
        central=central,
        consumption=consumption,
        messages=messages,
        publishings=publishings,
        server=from_server,
        stop_requested=stop,
    )
    export_time = min(_EXPORT_TIME, settings.broker_shutdown_timeout / 4)
    host, port = settings.broker_http_host, settings.broker_http_port
    return Parts(
        http=trio.sleep_forever if port is None else partial(serve_http, vitals, host, port),
        report_ready=partial(report_ready, vitals),
        router=partial(router.run, mailbox, hold if settings.broker_hold else trio.sleep_forever),
        central=partial(central.run, mailbox.send_news),
        amqp=partial(amqp.run, mailbox.deliver),
        drain=amqp.drain,
        export_traces=partial(traces.close, export_time) if traces else trio.lowlevel.checkpoint,
    )


def _topology(settings: Settings) -> Topology:
    return Topology(
        inputs=settings.broker_input_queue,
        outputs=settings.broker_output_queue,
        metadata=settings.broker_metadata_queue,
        advertisement=settings.broker_advertisement_queue,
        dead_letter=settings.broker_dead_letter_queue,
        registry_exchange=settings.broker_registry_exchange,
        held=settings.broker_hold_queue,
    )


def _central_link(settings: Settings, broker_id: str, tally: ServerTally) -> CentralLink:
    return CentralLink(
        ServerAddress.of(settings),
        SessionTerms(settings.broker_name, silence=settings.broker_websocket_silence),
        broker_id=broker_id,
        follow_advertised_url=settings.broker_follow_advertised_url,
        backoff=Backoff(),
        tally=tally,
    )


def _sessions(
    settings: Settings,
    topology: Topology,
    broker_id: str,
    *,
    tally: PublishTally,
    refusals: Refusals,
    observer: SettlementObserver | None,
) -> list[SessionParameters]:
    drain_timeout = StopTimes.of(settings).settle_within
    held = (topology.held,) if settings.broker_hold else ()
    watched = dict.fromkeys(
        (*topology.inputs, *topology.outputs, topology.dead_letter), _LOOK_INTERVAL
    )
    declared = (
        *topology.inputs,
        topology.metadata,
        topology.advertisement,
        *topology.outputs,
        topology.dead_letter,
        *held,
    )
    return [
        SessionParameters(
            endpoint=endpoint,
            name=f"{settings.broker_name} {broker_id}",
            queues=declared,
            fanouts=(topology.registry_exchange,),
            watched=watched | dict.fromkeys(held, _LOOK_INTERVAL_OF_HELD),
            prefetch=settings.broker_prefetch,
            drain_timeout=drain_timeout,
            tls=settings.amqp_tls,
            nodes=settings.amqp_nodes,
            tally=tally,
            refusals=refusals,
            observer=observer,
        )
        for endpoint in settings.amqp_endpoints
    ]
