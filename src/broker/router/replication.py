"""What brokers beside each other tell each other, so that all of them route alike.

The metadata and advertisement queues are work queues: of several brokers, only one gets each
registration, disconnection and advertisement. It publishes what it learned to a fanout exchange,
which gives each broker a copy. Late and repeated copies do no harm, as each has a version. A broker
that was not there learns the rest from the server's next full update.
"""

from collections.abc import Callable
from time import monotonic

import structlog

from broker.amqp import Publishing
from broker.core.codec import encode_registry_event
from broker.core.messages import ClientDisconnected, RegisterAgent, RegistryEvent, ServerAvailable
from broker.core.registry import AgentRegistry
from broker.core.versions import NEVER, Version

_TOLERANCE = 5.0
"""Seconds by which another broker's clock may differ, or its word be late, without a warning."""
_WARNING_INTERVAL = 60.0

_log = structlog.get_logger(__name__)


class Replication:
    """Applies what this broker learned by queue, and what the others tell.

    Args:
        exchange: The fanout exchange that all brokers publish to and listen to.
        registry: The agent registry.
        agent_registered: Called when an agent has registered.
        server_available: Called when a server has advertised itself.
    """

    def __init__(
        self,
        exchange: str,
        registry: AgentRegistry,
        *,
        agent_registered: Callable[[], None],
        server_available: Callable[[ServerAvailable], None],
    ) -> None:
        self._exchange = exchange
        self._registry = registry
        self._agent_registered = agent_registered
        self._server_available = server_available
        self._advertised = NEVER
        self._warn_from = 0.0

    def learned(
        self, change: RegisterAgent | ClientDisconnected | ServerAvailable, broker_id: str
    ) -> Publishing:
        """Apply what this broker learned, and return the publishing that tells it to the others.

        Args:
            change: What it learned.
            broker_id: Who publishes.

        Raises:
            RegistryFullError: There is no room for another agent.
        """
        event = RegistryEvent(change, self._apply(change, None))
        return Publishing("", encode_registry_event(event), broker_id, exchange=self._exchange)

    def heard(self, event: RegistryEvent) -> None:
        """Apply what another broker learned, unless something later is known. Its own are known.

        Raises:
            RegistryFullError: There is no room for another agent.
        """
        _log.debug("registry_event_heard", origin=event.version.origin)
        self._warn_if_clocks_differ(event.version)
        self._apply(event.change, event.version)

    def _apply(
        self, change: RegisterAgent | ClientDisconnected | ServerAvailable, given: Version | None
    ) -> Version:
        match change:
            case RegisterAgent():
                version = self._registry.register(change.agent_id, change.agent_name, given)
                self._agent_registered()
                return version
            case ClientDisconnected():
                return self._registry.disconnect(change.agent_id, given)
            case ServerAvailable():
                version = given or self._registry.clock.next()
                self._registry.clock.observe(version)
                if version > self._advertised:
                    self._advertised = version
                    self._server_available(change)
                return version

    def _warn_if_clocks_differ(self, version: Version) -> None:
        # What happened an hour ago by a wrong clock is older than what the server said since.
        seconds = self._registry.clock.seconds_since(version)
        if abs(seconds) > _TOLERANCE and monotonic() >= self._warn_from:
            self._warn_from = monotonic() + _WARNING_INTERVAL
            _log.warning("registry_event_not_of_now", origin=version.origin, age=round(seconds, 1))
