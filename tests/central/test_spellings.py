"""What servers write in ways of their own: binary frames, other flags, half an emoji."""

import json
from typing import Any

import pytest
import structlog

from broker.core.messages import AgentStatus, BrokerRegistered, StatusUpdate
from tests.central.session_rig import Rig
from tests.lab.autojump import autojump
from tests.lab.websocket_peers import Attempt, Server

HALF = "\ud83d"
"""Of an emoji: Python's and JavaScript's JSON libraries write it as the escape that it is here."""
REPLACED = "\N{REPLACEMENT CHARACTER}"
BOB = {"agent_id": "bob", "agent_name": "Bob", "is_online": True}
BOB_ONLINE = {"bob": AgentStatus("bob", "Bob", is_online=True)}


async def updates(rig: Rig) -> list[StatusUpdate]:
    return [mail for mail in await rig.heard() if isinstance(mail, StatusUpdate)]


async def updated(rig: Rig, server: Server, *agents: Any, full: object = True) -> StatusUpdate:
    await server.send("AGENT_STATUS_UPDATE", agents=agents, is_full_update=full)
    [update] = await updates(rig)
    return update


async def refused(rig: Rig, server: Server, *agents: Any) -> str:
    """Send a full update that must be refused, and return what is logged of it."""
    with structlog.testing.capture_logs() as lines:
        await server.send("AGENT_STATUS_UPDATE", agents=agents, is_full_update=True)
        assert await updates(rig) == []
    [line] = lines
    assert (line["event"], line["log_level"]) == ("status_update_ignored", "warning")
    assert +rig.tally.ignored == {"invalid_field": 1}
    return str(line["error"])


@autojump
async def test_binary_frames_are_read_like_text(rig: Rig, stranger: Server) -> None:
    await stranger.receive()

    async def send(message_type: str, **fields: Any) -> None:
        message = {"message_type": message_type, **fields}
        await stranger.websocket.send_message(json.dumps(message, ensure_ascii=False).encode())

    await send("REGISTER_BROKER_RESPONSE", status="success", broker_id="näme")
    assert (await stranger.receive())["sender_id"] == "näme"
    await send("AGENT_STATUS_UPDATE", agents=[BOB], is_full_update=True)
    await send("SERVER_HEARTBEAT")
    assert await stranger.receive() == {"message_type": "PONG", "broker_id": "näme"}
    update = StatusUpdate(BOB_ONLINE, is_full=True)
    assert await rig.heard() == [BrokerRegistered("näme"), update]
    assert not rig.tally.ignored.total()


ONLINE = (True, 1, 1.0, "true", "True", "TRUE", " true ", "1")
OFFLINE = (False, 0, 0.0, -0.0, "false", "False", "0")
UNCLEAR = (2, -1, 0.5, 1e300, "maybe", "yes", "offline", "", "s3cr3t", "tru" + HALF)
NO_FLAGS: tuple[object, ...] = ([], [True], {}, {"value": True})


@autojump
@pytest.mark.parametrize("flag", [*ONLINE, *OFFLINE], ids=repr)
async def test_flags_as_servers_write_them(flag: object, rig: Rig, server: Server) -> None:
    is_online = flag in ONLINE
    for full in (True, False):
        entry = {"agent_id": "alice", "is_online": flag}
        update = await updated(rig, server, entry, full=full)
        assert update == StatusUpdate({"alice": AgentStatus("alice", is_online=is_online)}, full)
    update = await updated(rig, server, BOB, full=flag)
    assert update == StatusUpdate(BOB_ONLINE, is_full=is_online)


@autojump
@pytest.mark.parametrize("flag", [*UNCLEAR, *NO_FLAGS], ids=repr)
async def test_an_agent_whose_flag_cannot_be_understood_stays_as_it_was(
    flag: object, rig: Rig, server: Server
) -> None:
    alice = {"agent_id": "alice", "agent_name": "Alicia", "is_online": flag}
    for full in (True, False):
        update = await updated(rig, server, alice, BOB, full=full)
        assert update == StatusUpdate(BOB_ONLINE, full, skipped=1, unclear=frozenset({"alice"}))


@autojump
@pytest.mark.parametrize(
    ("agents", "saw"),
    [
        ([{"agent_id": "a"}, {"agent_id": "b"}], "the first has agent_id"),
        ([{"agent_id": "a", "is_online": None}], "`is_online`: null"),
        ([{"agent_id": "a", "is_online": "maybe"}, {"agent_id": "b"}], '`is_online`: "maybe"'),
        ([{"agent_id": "a", "online": True}], "the first has agent_id, online"),
        ([{"id": "a", "is_online": True}], "the first has id, is_online"),
        ([5, "a"], "the first is no object"),
        ([{}], "the first is empty"),
        ([{"agent_id": "a", "is_online": "x" * 5000}], "x" * 30),
        ([{"agent_id": "a", "is_online": ["\n\u0007\u00e9" * 5000]}], "`is_online`: ["),
        ([{"\u0007" * 5000: 1, "\u20ac" * 5000: 2}], "the first has"),
        ([{f"field {number}": 1 for number in range(5000)}], "the first has field 0, field 1"),
    ],
)
async def test_a_full_update_without_one_usable_flag_is_refused(
    agents: list[Any], saw: str, rig: Rig, server: Server
) -> None:
    error = await refused(rig, server, *agents)
    assert "`is_online`" in error
    assert f"of {len(agents)} entr" in error
    assert saw in error
    assert len(error.encode()) <= 255
    assert error.isprintable()


@autojump
async def test_missing_flags_mean_offline_while_one_entry_has_one(rig: Rig, server: Server) -> None:
    update = await updated(rig, server, {"agent_id": "alice"}, BOB)
    assert update == StatusUpdate({"alice": AgentStatus("alice"), **BOB_ONLINE}, is_full=True)
    offline = {"agent_id": "carol", "is_online": "false"}
    update = await updated(rig, server, {"agent_id": "alice"}, offline)
    assert set(update.agents) == {"alice", "carol"}
    update = await updated(rig, server, {"agent_id": "alice"}, full=False)
    assert update == StatusUpdate({"alice": AgentStatus("alice")})


@autojump
@pytest.mark.parametrize(
    ("field", "name"),
    [
        ({"agent_name": "A" + HALF}, "A" + REPLACED),
        ({"agent_name": HALF}, REPLACED),
        ({"last_seen": HALF}, "Alice"),
        ({"note": HALF}, "Alice"),
        ({"note": [{HALF: HALF}]}, "Alice"),
        ({HALF: 1}, "Alice"),
        ({"agent_id" + HALF: "x"}, "Alice"),
        ({"note": "\\" + HALF + "\U0001f680" + "\udc00"}, "Alice"),
    ],
)
async def test_half_an_emoji_costs_its_field(
    field: dict[str, Any], name: str, rig: Rig, server: Server
) -> None:
    alice = {"agent_id": "alice", "agent_name": "Alice", "is_online": True, **field}
    update = await updated(rig, server, alice, {**BOB, "agent_name": "B\U0001f680"})
    assert update.is_full
    assert update.agents == {
        "alice": AgentStatus("alice", name, is_online=True),
        "bob": AgentStatus("bob", "B\U0001f680", is_online=True),
    }


@autojump
async def test_half_an_emoji_in_an_id_costs_the_entry(rig: Rig, server: Server) -> None:
    """Another id in its place would be that of another agent, or of nobody."""
    update = await updated(rig, server, {"agent_id": "a" + HALF, "is_online": True}, BOB)
    assert update == StatusUpdate(BOB_ONLINE, is_full=True, skipped=1)


@autojump
async def test_half_an_emoji_outside_of_entries(rig: Rig, stranger: Server) -> None:
    await stranger.receive()
    await stranger.send("PING", payload=HALF)
    assert (await stranger.receive())["message_type"] == "PONG"
    await stranger.send("WEATHER" + HALF, **{HALF: HALF})
    await stranger.send(
        "REGISTER_BROKER_RESPONSE", status="success", broker_id="n" + HALF, message=HALF
    )
    assert (await stranger.receive())["sender_id"] == "broker_0001"
    await stranger.send("AGENT_STATUS_UPDATE", agents=[BOB], is_full_update=True, note=HALF)
    assert await updates(rig) == [StatusUpdate(BOB_ONLINE, is_full=True)]
    assert +rig.tally.ignored == {"unknown_type": 1}


@autojump
async def test_half_an_emoji_in_a_refusal(attempt: Attempt, stranger: Server) -> None:
    await stranger.receive()
    await stranger.send("ERROR", text_payload=f"too many {HALF}")
    error = await attempt.end()
    assert str(error) == f"the server refused the broker: too many {REPLACED}"
