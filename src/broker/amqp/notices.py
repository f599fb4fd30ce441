"""What is counted and logged of the deliveries that do not go the usual way."""

from broker.amqp.paced_log import PacedLog
from broker.telemetry.tally import PublishTally


class Notices:
    """Takes notes in the asyncio event loop."""

    def __init__(self, tally: PublishTally) -> None:
        self._tally = tally
        self._log = PacedLog()

    def dead_lettered(self, queue: str, reason: str) -> None:
        """RabbitMQ confirmed a dead letter."""
        self._tally.dead_letter(queue, reason)
        self._log.add("dead_lettered", queue=queue, reason=reason)

    def renewed(self, queue: str) -> None:
        """RabbitMQ confirmed a message that was published anew to its own queue."""
        self._tally.renewed += 1
        self._log.add("delivery_count_reset", queue=queue)

    def flush(self) -> None:
        """Log what is not logged yet."""
        self._log.flush()
