"""Replicate registry changes between brokers on the same queues.

The metadata and advertisement queues are work queues: of several brokers, only one gets each
registration, disconnection and advertisement. It publishes what it learned to a fanout exchange,
which gives each broker a copy. Late and repeated copies do no harm, as each has a version. A broker
that was not there learns the rest from the server's next full update.
"""

from collections.abc import Callable
from time import monotonic

import structlog

from broker.core.messages import (
    AnswersSeen,
    ClientDisconnected,
    RegisterAgent,
    RegistryEvent,
    ServerAvailable,
)
from broker.core.registry import AgentRegistry, RegistryFullError
from broker.core.versions import NEVER, Version

_TOLERANCE = 5.0
"""Seconds by which another broker's clock may differ, or its event be late, without a warning."""
_WARNING_INTERVAL = 60.0

_log = structlog.get_logger(__name__)


class Replication:
    """Applies registry events: those of this broker, and those that the others announce."""

    def __init__(
        self,
        registry: AgentRegistry,
        *,
        agent_registered: Callable[[], None],
        server_available: Callable[[ServerAvailable], None],
        answers_seen: Callable[[AnswersSeen], None] | None = None,
    ) -> None:
        self._registry = registry
        self._agent_registered = agent_registered
        self._server_available = server_available
        self._answers_seen = answers_seen
        self._advertised = NEVER
        self._warn_from = 0.0

    def apply(self, event: RegistryEvent) -> None:
        """Apply an event, unless something later is known."""
        if event.version.origin != self._registry.clock.origin:
            _log.debug("registry_event_heard", origin=event.version.origin)
            self._warn_if_clocks_differ(event.version)
        try:
            self._change(event)
        except RegistryFullError:
            # The broker that learned it has room, or dead-lettered the registration.
            _log.warning("registry_full", entries=1, allowed=self._registry.max_agents)

    def _change(self, event: RegistryEvent) -> None:
        change, version = event.change, event.version
        match change:
            case RegisterAgent():
                self._registry.register(
                    change.agent_id, change.agent_name, version, change.capabilities
                )
                self._agent_registered()
                _log.debug("agent_registered", agent_id=change.agent_id)
            case ClientDisconnected():
                self._registry.disconnect(change.agent_id, version)
                _log.debug("agent_disconnected", agent_id=change.agent_id)
            case ServerAvailable():
                self._registry.clock.observe(version)
                if version > self._advertised:
                    self._advertised = version
                    self._server_available(change)
            case AnswersSeen():
                is_own = version.origin == self._registry.clock.origin
                if self._answers_seen is not None and not is_own:
                    self._answers_seen(change)

    def _warn_if_clocks_differ(self, version: Version) -> None:
        # What happened an hour ago by a wrong clock is older than what the server said since.
        seconds = self._registry.clock.seconds_since(version)
        if abs(seconds) > _TOLERANCE and monotonic() >= self._warn_from:
            self._warn_from = monotonic() + _WARNING_INTERVAL
            _log.warning("clock_skew", origin=version.origin, seconds=round(seconds, 1))
