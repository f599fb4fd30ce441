"""The broker as a task of a Trio program, which changes the routing policy as it runs.

It takes the settings that `python -m broker` takes.
"""

import signal
import sys

import trio

from broker import Agent, Agents, ChatMessage, load_settings, serve

SHIFT = 10.0
"""Seconds that an agent is on duty."""


class Duty:
    """Gives all messages to the agent on duty, or to any other if that one may not receive them."""

    def __init__(self) -> None:
        self._on_duty: str | None = None

    def __call__(self, _: ChatMessage, agents: Agents) -> Agent:
        """Choose a receiver."""
        agent = self._on_duty and agents.get(self._on_duty)
        if not agent:
            agent = agents.random()
            self._on_duty = agent.agent_id
        return agent

    async def change_shifts(self) -> None:
        """Let somebody else take over after each shift."""
        while True:
            await trio.sleep(SHIFT)
            self._on_duty = None


async def main() -> bool:
    """Run until Ctrl-C or SIGTERM, and return whether every message was settled."""
    duty, stop = Duty(), trio.Event()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_at_a_signal() -> None:
                await anext(signals)
                stop.set()

            nursery.start_soon(duty.change_shifts)
            nursery.start_soon(stop_at_a_signal)
            settled = await serve(load_settings(), stop, duty)
            nursery.cancel_scope.cancel()
    return settled


if __name__ == "__main__":
    sys.exit(0 if trio.run(main) else 1)
