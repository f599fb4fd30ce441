"""Messages that take long to publish: a task for each, until RabbitMQ has taken it."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any


class Trials:
    """Starts tasks in the group of the session, where a failure of one ends the session."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._under_way: dict[asyncio.Task[None], str | None] = {}

    @property
    def waiting_for(self) -> Counter[str]:
        """How many messages RabbitMQ did not take at first, by the queue or exchange they go to.

        Another thread may ask, too.
        """
        return Counter(filter(None, tuple(self._under_way.values())))

    def start(self, task: Coroutine[Any, Any, None], waiting_for: str | None) -> bool:
        """Start a task, and return whether it was started.

        It is not when the session has ended: its group takes no tasks then.
        """
        try:
            started = self._tasks.create_task(task)
        except RuntimeError:
            task.close()
            return False
        self._under_way[started] = waiting_for
        started.add_done_callback(self._under_way.pop)
        return True

    def cancel(self) -> None:
        """Cancel all of them."""
        for task in tuple(self._under_way):
            task.cancel()
