"""Which RabbitMQ nodes are tried, and in which order."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import trio

from broker.amqp.session_parameters import SessionParameters
from broker.net.unusable_file import UnusableFileError

if TYPE_CHECKING:
    from broker.net.endpoints import AmqpEndpoint


class NodeRounds:
    """Orders the nodes anew for each round.

    Attributes:
        lost: The node whose session was lost last. It comes last: one that neither answers nor
            refuses takes all the time that connecting may take.

    Args:
        sessions: How to open a session, one entry for each node. When their URLs are in a file,
            that is read again before each round.
        shuffle: Orders them, in place: many brokers, none of which prefers a node, spread over all
            of them.
        read_timeout: Seconds that reading that file may take: it may lie in a network.
    """

    def __init__(
        self,
        sessions: Sequence[SessionParameters],
        shuffle: Callable[[list[SessionParameters]], None],
        read_timeout: float,
    ) -> None:
        self.lost: AmqpEndpoint | None = None
        self._sessions = sessions
        self._shuffle = shuffle
        self._read_timeout = read_timeout

    async def next(self) -> list[SessionParameters]:
        """Return how to open a session with each node, in the order of the next round.

        Raises:
            UnusableFileError: The file with their URLs.
        """
        sessions = await self._sessions_of_now()
        self._shuffle(sessions)
        return sorted(sessions, key=lambda one: one.endpoint == self.lost)

    async def _sessions_of_now(self) -> list[SessionParameters]:
        like, nodes = self._sessions[0], self._sessions[0].nodes
        if nodes is None or nodes.url_file is None:
            return list(self._sessions)
        with trio.move_on_after(self._read_timeout):
            endpoints = await trio.to_thread.run_sync(nodes.read, abandon_on_cancel=True)
            return [msgspec.structs.replace(like, endpoint=endpoint) for endpoint in endpoints]
        raise UnusableFileError(f"AMQP_URL_FILE could not be read within {self._read_timeout:g} s")
