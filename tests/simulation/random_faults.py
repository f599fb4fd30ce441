"""Random faults of RabbitMQ and the server, among ordinary traffic, and their repair."""

from collections.abc import Callable
from functools import partial
from random import choice, choices, randint, random

import trio

from tests.simulation.central_server import CentralServer
from tests.simulation.rabbitmq import CONSUMED, DEAD_LETTERS, OUTPUT, Rabbitmq
from tests.simulation.trace import Trace
from tests.simulation.traffic import Traffic

type Event = Callable[[], None]

_PAUSES = (0.0, 0.0, 0.001, 0.05, 1.0)
_LONG_PAUSE = 40.0
"""Longer than any patience of the broker's with its peers."""
_LONG_PAUSES = 0.01
_LONG_PAUSES_IN_AN_ALARM = 0.1
"""How many of the pauses are long: operators take their time to make room."""


class RandomFaults:
    def __init__(
        self, rabbitmq: Rabbitmq, server: CentralServer, traffic: Traffic, trace: Trace
    ) -> None:
        self._rabbitmq = rabbitmq
        self._server = server
        self._trace = trace
        ordinary: dict[Event, int] = {
            traffic.anything: 30,
            self._deliver: 25,
            self._confirm: 25,
            server.come_and_go: 3,
            server.tell_all: 1,
            server.talk_nonsense: 1,
        }
        faults: list[Event] = [
            self._lose_connection,
            self._lose_node,
            self._freeze_connection,
            self._cancel_consumer,
            self._close_channel,
            self._delete_queue,
            self._toggle_queue,
            partial(self._toggle, rabbitmq, "refuses_exchange"),
            self._toggle_alarm,
            partial(self._toggle, rabbitmq, "is_mute"),
            self._toggle_refusals,
            partial(self._toggle, rabbitmq, "is_down", "is_silent", "refuses_logins"),
            server.hang_up,
            partial(self._toggle, server, "refuses", "is_silent"),
        ]
        # Not all kinds of trouble in every run: some lead to states that others would end at once.
        likely = {fault: 3 for fault in faults if random() < 0.4}
        self._events = ordinary | likely

    async def inject(self, events: int) -> None:
        for _ in range(events):
            long_pauses = _LONG_PAUSES_IN_AN_ALARM if self._rabbitmq.has_alarm else _LONG_PAUSES
            await trio.sleep(choice(_PAUSES) if random() > long_pauses else _LONG_PAUSE)
            [event] = choices(list(self._events), list(self._events.values()))
            event()
            if self._trace.violations:
                return

    def repair(self) -> None:
        """End all faults; what is lost already stays so."""
        self._trace.note("all faults repaired")
        rabbitmq, server = self._rabbitmq, self._server
        rabbitmq.is_down = rabbitmq.is_silent = rabbitmq.refuses_logins = False
        rabbitmq.is_mute = server.refuses = server.is_silent = False
        rabbitmq.refusals = 0.0
        rabbitmq.away.clear()
        rabbitmq.refuses_exchange = False
        rabbitmq.alarm(on=False)

    def _deliver(self) -> None:
        self._rabbitmq.deliver(randint(1, 5))

    def _confirm(self) -> None:
        self._rabbitmq.confirm(randint(1, 5))

    def _lose_connection(self) -> None:
        if self._rabbitmq.connections:
            choice(self._rabbitmq.connections).lose()

    def _lose_node(self) -> None:
        for connection in tuple(self._rabbitmq.connections):
            connection.lose()

    def _freeze_connection(self) -> None:
        if self._rabbitmq.connections:
            connection = choice(self._rabbitmq.connections)
            connection.freeze()
            self._trace.note(f"{connection.name} hangs")

    def _cancel_consumer(self) -> None:
        if consumers := self._rabbitmq.consumers():
            connection, channel = choice(consumers)
            self._trace.note(f"{channel.name} is cancelled")
            connection.cancel_consumer(channel)

    def _close_channel(self) -> None:
        if channels := list(self._rabbitmq.channels()):
            connection, channel = choice(channels)
            self._trace.note(f"{channel.name} is closed")
            connection.close_channel(channel, 541, "INTERNAL_ERROR")

    def _delete_queue(self) -> None:
        queue = choice([OUTPUT, DEAD_LETTERS])
        self._trace.note(f"queue {queue} deleted")
        self._rabbitmq.queues.pop(queue, None)

    def _toggle_queue(self) -> None:
        queue = choice([*CONSUMED, OUTPUT, DEAD_LETTERS])
        self._rabbitmq.away ^= {queue}
        is_away = queue in self._rabbitmq.away
        self._trace.note(f"queue {queue} is {'away' if is_away else 'back'}")
        for connection, channel in self._rabbitmq.consumers():
            if is_away and channel.queue == queue:
                connection.cancel_consumer(channel)

    def _toggle_alarm(self) -> None:
        self._rabbitmq.alarm(on=not self._rabbitmq.has_alarm)
        self._trace.note(f"alarm: {self._rabbitmq.has_alarm}")

    def _toggle_refusals(self) -> None:
        self._rabbitmq.refusals = 0.0 if self._rabbitmq.refusals else choice([0.3, 1.0])
        self._trace.note(f"refuses publishings: {self._rabbitmq.refusals:.0%}")

    def _toggle(self, peer: Rabbitmq | CentralServer, name: str, *others: str) -> None:
        if others:
            name = choice([name, *others])
        setattr(peer, name, not getattr(peer, name))
        self._trace.note(f"{type(peer).__name__} {name}: {getattr(peer, name)}")
