"""Which agents are online, for a stand-in central server that runs alone.

Agents that are programs of their own announce themselves again and again through a queue of the
server's, in the words that the server then uses to tell the broker.
"""

from datetime import UTC, datetime

import structlog
import trio

from broker.amqp import Delivery, Publishing, Session
from broker.core.codec import decode_metadata
from broker.core.messages import (
    MAX_BODY_BYTES,
    AgentStatus,
    ClientDisconnected,
    RegisterAgent,
    Rejected,
)
from broker.sandbox.central_server import CentralServer
from broker.sandbox.server_queues import (
    METADATA_QUEUE,
    SERVER_ID,
    UNKNOWN_QUEUE,
    answering,
    disconnection,
)

AGENTS_QUEUE = "central_server_agent_queue"
"""Where agents tell the server that they are there, or leave."""
SILENCE = 10.0
"""Seconds after which an agent that has said nothing counts as gone."""
_CHECK_INTERVAL = 1.0

_log = structlog.get_logger(__name__)


class AgentHeartbeats:
    """Records which agents are online: those that were heard from lately."""

    def __init__(self, server: CentralServer) -> None:
        self._server = server
        self._heard: dict[str, float] = {}

    async def run(
        self, session: Session, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen to the agents, and take silent ones offline, until cancelled.

        Started once RabbitMQ delivers what they say. Cancelling it ends the session.

        Raises:
            AmqpError: The session was lost.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(session.consume, AGENTS_QUEUE, answering(self._answer))
            task_status.started()
            await self._watch_for_silence(session)

    async def _watch_for_silence(self, session: Session) -> None:
        # Without a session nobody could be heard.
        self._heard = dict.fromkeys(self._heard, trio.current_time())
        while True:
            await trio.sleep(_CHECK_INTERVAL)
            earliest = trio.current_time() - SILENCE
            for agent_id in [who for who, heard in self._heard.items() if heard < earliest]:
                _log.warning("agent_silent", agent_id=agent_id)
                self._leave(agent_id)
                await session.publish([disconnection(agent_id)])

    def _answer(self, delivery: Delivery) -> Publishing | None:
        match decode_metadata(delivery.body, MAX_BODY_BYTES):
            case RegisterAgent(agent_id=agent_id, agent_name=agent_name):
                is_news = agent_id not in self._heard
                self._heard[agent_id] = trio.current_time()
                if not is_news:
                    return None
                self._tell(agent_id, agent_name, is_online=True)
            case ClientDisconnected(agent_id=agent_id):
                self._leave(agent_id)
            case Rejected(error=error):
                _log.warning("agent_not_understood", error=error)
                return Publishing(UNKNOWN_QUEUE, delivery.body, SERVER_ID)
        return Publishing(METADATA_QUEUE, delivery.body, SERVER_ID)

    def _leave(self, agent_id: str) -> None:
        self._heard.pop(agent_id, None)
        known = self._server.agents.get(agent_id)
        self._tell(agent_id, known.agent_name if known else agent_id, is_online=False)

    def _tell(self, agent_id: str, agent_name: str, *, is_online: bool) -> None:
        _log.info("agent_came" if is_online else "agent_left", agent_id=agent_id)
        self._server.update(
            AgentStatus(agent_id, agent_name, is_online=is_online, last_seen=datetime.now(UTC))
        )
