"""The broker's own AMQP and routing code in one asyncio loop: what Trio and the border may cost."""

import asyncio
import sys
from collections.abc import Sequence
from functools import partial

from broker.amqp import Delivery, Refusals, SessionParameters
from broker.amqp.asyncio_session import AsyncioSession
from broker.amqp.lifetime import Lifetime
from broker.core.registry import AgentRegistry
from broker.net.endpoints import parse_amqp_urls
from broker.router.dispatcher import Dispatcher
from broker.router.rules import Limits, Topology
from broker.telemetry.tally import MessageTally
from tests.bench.names import AGENTS, DEAD_LETTER_QUEUE, INPUT_QUEUE, OUTPUT_QUEUE


async def main(url: str, prefetch: int) -> None:
    dispatcher = _dispatcher()
    (endpoint,) = parse_amqp_urls(url)
    parameters = SessionParameters(
        endpoint,
        name="one loop",
        queues=(INPUT_QUEUE, OUTPUT_QUEUE, DEAD_LETTER_QUEUE),
        prefetch=prefetch,
    )
    opened: asyncio.Future[AsyncioSession] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        open_session = partial(AsyncioSession.open, parameters)
        tasks.create_task(Lifetime().run(open_session, opened.set_result))
        session = await opened
        consumer = await session.consumers.get(INPUT_QUEUE)

        def arrived(deliveries: Sequence[Delivery]) -> None:
            consumer.publish([dispatcher.dispatch(delivery) for delivery in deliveries])

        await consumer.start(arrived)


def _dispatcher() -> Dispatcher:
    registry = AgentRegistry(len(AGENTS))
    for agent_id in AGENTS:
        registry.register(agent_id, agent_id, registry.clock.next())
    return Dispatcher(
        topology=Topology(
            inputs=(INPUT_QUEUE,),
            outputs=(OUTPUT_QUEUE,),
            metadata="unused metadata",
            advertisement="unused advertisement",
            dead_letter=DEAD_LETTER_QUEUE,
            registry_exchange="unused exchange",
        ),
        registry=registry,
        tally=MessageTally(),
        broker_id="one-loop",
        limits=Limits(1 << 20, max_agents=registry.max_agents),
        refusals=Refusals(),
        agent_registered=lambda: None,
        unknown_sender=lambda _: None,
        server_available=lambda _: None,
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
