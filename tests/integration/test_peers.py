"""The real process with peers that are away, come, go and come back."""

import json

import trio

from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.central_server import CentralServer, open_central_server

NOBODY = "ws://127.0.0.1:9/ws"


async def test_server_absent_then_there_then_gone(rig: Rig) -> None:
    async with open_central_server() as server:
        server.accepting = False
        agents = bring_online(server)
        async with rig.broker(server.url, BROKER_REGISTRY_TTL="2") as broker:
            await rig.logged("amqp_connected")
            await rig.logged("server_lost")
            await rig.publish(rig.input, text(1, agents[0]))
            assert await rig.ready_count(rig.input) == 1

            server.accepting = True
            advertisement = {"message_type": "SERVER_AVAILABLE", "websocket_url": server.url}
            await rig.publish(rig.advertisement, json.dumps(advertisement).encode())
            assert ids(await rig.take(rig.output, 1)) == ["m-1"]

            server.accepting = False
            server.drop_sessions()
            await rig.logged("routing_paused")
            await rig.publish(rig.input, text(2, agents[0]))
            assert await rig.ready_count(rig.input) == 1

            server.accepting = True
            await rig.publish(rig.advertisement, json.dumps(advertisement).encode())
            assert ids(await rig.take(rig.output, 1)) == ["m-2"]
            assert await terminate(broker, within=12) == 0


async def test_a_server_that_writes_flags_and_names_in_ways_of_its_own(
    rig: Rig, server: CentralServer
) -> None:
    async with rig.broker(server.url) as broker:
        await rig.logged("routing_started")
        applied = len(await rig.logged("registry_updated"))
        for agents in (
            '{"agent_id": "alice", "agent_name": "A\\ud83d", "is_online": 1}',
            '{"agent_id": "alice", "is_online": "perhaps"}, {"agent_id": "bob", "is_online": "0"}',
            '{"agent_id": "bob", "online": true}',
        ):
            server.send(
                '{"message_type": "AGENT_STATUS_UPDATE", "is_full_update": true,'
                f' "agents": [{agents}]}}'
            )
            if "A\\ud83d" in agents:
                # Updates that wait together become one, of which nothing is unclear.
                await rig.logged("registry_updated", applied + 1)
        [refused] = await rig.logged("status_update_ignored")
        assert "the first has agent_id, online" in refused["error"]
        [skipped] = await rig.logged("agent_status_skipped")
        assert skipped["unclear"] == ["alice"]
        await rig.publish(rig.input, text(1, "bob"))
        [message] = await rig.take(rig.output, 1)
        assert json.loads(message.body)["receiver_id"] == "alice"
        assert await terminate(broker, within=12) == 0


async def test_rabbitmq_absent_at_start_and_coming_later(
    fragile_rig: Rig, server: CentralServer
) -> None:
    rig = fragile_rig
    bring_online(server)
    await rig.node.stop()
    try:
        async with rig.broker(server.url) as broker:
            await rig.logged("amqp_lost", 2)
            await rig.node.start()
            await rig.logged("routing_started")
            await rig.publish(rig.input, text(1, "agent_0"))
            assert ids(await rig.take(rig.output, 1)) == ["m-1"]
            assert await terminate(broker, within=12) == 0
    finally:
        await rig.node.start()


async def test_rabbitmq_killed_and_restarted_under_load(
    fragile_rig: Rig, server: CentralServer
) -> None:
    rig = fragile_rig
    agents = bring_online(server)
    async with rig.broker(server.url) as broker:
        await rig.logged("routing_started")
        await rig.publish(rig.input, *(text(number, agents[0]) for number in range(3_000)))
        await rig.node.kill()
        await rig.logged("amqp_lost")
        await rig.node.start()
        await rig.logged("routing_started", 2)
        with trio.fail_after(30):
            while await rig.ready_count(rig.input):
                await trio.sleep(0.1)
        assert await terminate(broker, within=12) == 0

    routed = ids(await rig.take_all(rig.output))
    assert set(routed) == {f"m-{number}" for number in range(3_000)}
    # What was unacknowledged when the node died, and no more, may come twice.
    assert len(routed) - 3_000 <= 1_000
