"""`broker dead-letters` on a real RabbitMQ node: what it shows, sends back and removes."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pamqp.commands import Basic
from pamqp.common import FieldTable, FieldValue

from tests.cli.mailroom import Mailroom, bodies, full_properties
from tests.integration.rig import Rig, bring_online, text
from tests.lab import raw_content
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode

MANY = 230
"""More than two windows."""


async def test_a_list_tells_all_there_is_to_say(mailroom: Mailroom) -> None:
    await mailroom.park(b"12345", age=timedelta(hours=3), x_broker_replays="2")
    [letter] = await mailroom.list()
    age = letter.pop("age_seconds")
    at = datetime.fromisoformat(letter.pop("dead_lettered_at"))
    assert 3 * 3600 < age < 4 * 3600
    assert timedelta(hours=3) < datetime.now(UTC) - at < timedelta(hours=4)
    assert letter == {
        "number": 1,
        "id": None,
        "reason": "invalid_json",
        "error": "the body is no JSON",
        "queue": mailroom.input,
        "broker_id": "broker-1",
        "replays": 2,
        "size": 5,
        "parts": 1,
        "problem": None,
    }
    ran = await mailroom.run("dead-letters", "list")
    assert (ran.code, ran.err) == (0, "")
    heading, line = ran.out.splitlines()
    assert " ".join(heading.split()) == "number reason queue since age bytes replays id error"
    cells = ["1", "invalid_json", mailroom.input, f"{at:%Y-%m-%dT%H:%M:%SZ}", "3h", "5", "2", "-"]
    assert line.split() == [*cells, "the", "body", "is", "no", "JSON"]


async def test_looking_changes_nothing(mailroom: Mailroom) -> None:
    expected = [b"%d" % number for number in range(MANY)]
    await mailroom.park(*expected)
    for _ in range(2):
        letters = await mailroom.list()
        assert [letter["number"] for letter in letters] == list(range(1, MANY + 1))
        shown = await mailroom.run("dead-letters", "show", "--format", "json")
        assert [letter["body"].encode() for letter in shown.document] == expected
        await mailroom.run("dead-letters", "replay", "--dry-run")
        await mailroom.run("dead-letters", "purge", "--all", "--dry-run")
    assert bodies(await mailroom.take(mailroom.dead_letter)) == expected
    assert await mailroom.raw.ready(mailroom.input) == 0


async def test_filters(mailroom: Mailroom) -> None:
    await mailroom.park(b"a", age=timedelta(days=3))
    await mailroom.park(b"b", age=timedelta(hours=2), x_broker_reason="too_deep")
    await mailroom.park(b"c", age=timedelta(hours=1), x_broker_reason="too_large")
    await mailroom.put({}, b"?")
    await mailroom.park(b"d", x_original_queue=mailroom.metadata)
    for options, numbers in (
        (("--reason", "too_deep", "--reason", "too_large", "--older-than", "90m"), [2]),
        (("--queue", mailroom.input, "--newer-than", "2d", "--limit", "1"), [2]),
        (("--queue", mailroom.metadata), [5]),
    ):
        # What was passed over keeps its number.
        assert [letter["number"] for letter in await mailroom.list(*options)] == numbers
    for places, numbers in (
        (("--newest", "2"), [4, 5]),
        (("--newest", "2", "--reason", "too_deep", "--reason", "too_large"), [2, 3]),
        (("--oldest", "1", "--newer-than", "2d"), [2]),
        (("--number", "4", "--number", "2"), [2, 4]),
        (("--number", "9"), []),
    ):
        assert [letter["number"] for letter in await mailroom.list(*places)] == numbers
    narrow = ("--newer-than", "2d", "--format", "json")
    ran = await mailroom.run("dead-letters", "replay", "--dry-run", *narrow)
    assert ran.document == {"dry_run": True, "replayed": 3, "left": {}, "failed": {}}
    ran = await mailroom.run("dead-letters", "purge", "--limit", "2", *narrow)
    assert ran.document == {"dry_run": False, "removed": 2}
    assert bodies(await mailroom.take(mailroom.dead_letter)) == [b"a", b"?", b"d"]


async def test_the_newest_and_those_with_an_id(mailroom: Mailroom) -> None:
    await mailroom.park(*(b'{"message_id": "m-%d"}' % number for number in range(MANY)))
    [last] = await mailroom.list("--newest", "1")
    assert last["number"] == MANY
    ran = await mailroom.run("dead-letters", "purge", "--newest", "2")
    assert (ran.code, ran.out) == (0, "Removed 2 messages.\n")
    ran = await mailroom.run("dead-letters", "purge", "--id", "m-3", "--id", "m-9999")
    assert (ran.code, ran.out) == (0, "Removed 1 message.\n")
    ran = await mailroom.run("dead-letters", "replay", "--id", "m-5", "--id", "m-6")
    assert (ran.code, ran.out) == (0, "Replayed 2 messages.\n")
    ran = await mailroom.run("dead-letters", "replay", "--newest", "1", "--format", "json")
    assert ran.document == {"dry_run": False, "replayed": 1, "left": {}, "failed": {}}
    replayed = bodies(await mailroom.take(mailroom.input))
    assert replayed == [b'{"message_id": "m-%d"}' % number for number in (5, 6, MANY - 3)]
    left = bodies(await mailroom.take(mailroom.dead_letter))
    gone = {3, 5, 6, *range(MANY - 3, MANY)}
    assert left == [b'{"message_id": "m-%d"}' % one for one in range(MANY) if one not in gone]


async def test_what_may_not_be_replayed_is_counted_only_if_it_was_chosen(
    mailroom: Mailroom,
) -> None:
    await mailroom.park(b"1", b"2", b"3", x_original_queue="elsewhere")
    await mailroom.park(b"4")
    await mailroom.park(b"5", x_original_queue="elsewhere")
    ran = await mailroom.run("dead-letters", "replay", "--newest", "2", "--format", "json")
    assert (ran.document["replayed"], list(ran.document["left"].values())) == (1, [1])


async def test_nothing_to_show(mailroom: Mailroom) -> None:
    for what in ("list", "show"):
        ran = await mailroom.run("dead-letters", what)
        assert (ran.code, ran.out) == (0, "There is no such message in the dead-letter queue.\n")
        assert (await mailroom.run("dead-letters", what, "--format", "json")).document == []


async def test_show_has_headers_and_body(mailroom: Mailroom) -> None:
    utf8 = 'ü\n{"a":\x1b[2J\u202e1}'.encode()
    await mailroom.park(utf8, traceparent="00-1-2-01", depth={"a": [1, None, bytearray(b"\xff")]})
    await mailroom.park(b"\xff\x00" * 80)
    ran = await mailroom.run("dead-letters", "show", "--format", "json")
    first, second = ran.document
    assert ran.out.isascii()
    assert (first["body_encoding"], first["body"]) == ("utf-8", utf8.decode())
    assert first["headers"]["traceparent"] == "00-1-2-01"
    assert first["headers"]["depth"] == {"a": [1, None, "base64:/w=="]}
    assert first["correlation_id"] == "c-1"
    assert second["body_encoding"] == "base64"
    assert base64.b64decode(second["body"]) == b"\xff\x00" * 80

    ran = await mailroom.run("dead-letters", "show", PYTHONUTF8="1")
    assert '    ü\n    {"a":\\x1b[2J\\u202e1}\n' in ran.out
    assert "  header   traceparent: 00-1-2-01\n" in ran.out
    assert '  header   depth: {"a": [1, null, "base64:/w=="]}\n' in ran.out
    assert "  body     160 bytes, in base64\n    /wD/" in ran.out
    assert "\x1b" not in ran.out


async def test_a_replay_brings_back_what_came(mailroom: Mailroom) -> None:
    expected = [b"%d" % number for number in range(MANY)]
    await mailroom.park(*expected, traceparent="00-1-2-01", CC=["elsewhere"], x_broker_replays="41")
    await mailroom.park(b"registration", x_original_queue=mailroom.metadata)
    ran = await mailroom.run("dead-letters", "replay")
    assert (ran.code, ran.out, ran.err) == (0, f"Replayed {MANY + 1} messages.\n", "")
    assert await mailroom.raw.ready(mailroom.dead_letter) == 0
    messages = await mailroom.take(mailroom.input)
    assert bodies(messages) == expected
    for message in messages:
        properties = message.header.properties
        assert properties.headers == {"traceparent": "00-1-2-01", "x-broker-replays": "42"}
        assert properties.correlation_id == "c-1"
        assert properties.delivery_mode == 2
        assert properties.app_id == "BrokerService"
    [message] = await mailroom.take(mailroom.metadata)
    assert message.body == b"registration"
    assert message.header.properties.headers == {"x-broker-replays": "1"}


async def test_all_properties_are_shown_and_brought_back(mailroom: Mailroom) -> None:
    depth: FieldTable = {"a": [1]}
    headers: FieldTable = {
        **mailroom.headers(x_added_properties="timestamp"),
        "x-tenant": "acme",
        "depth": depth,
        "x-original-expiration": "60000",
        "x-delivery-count": 7,
        "CC": ["elsewhere"],
        "BCC": ["elsewhere"],
    }
    timestamp = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    its = full_properties(headers=headers, timestamp=timestamp, app_id="a\x1b")
    await mailroom.raw.publish(mailroom.dead_letter, b"{", properties=its)
    ran = await mailroom.run("dead-letters", "show", "--format", "json")
    [letter] = ran.document
    assert letter["properties"] == {
        "content_type": "the content_type",
        "content_encoding": "gzip",
        "priority": 7,
        "correlation_id": "the correlation_id",
        "reply_to": "the reply_to",
        "message_id": "the message_id",
        "timestamp": "2026-01-02T03:04:05Z",
        "type": "the message_type",
        "user_id": "guest",
        "app_id": "a\x1b",
    }
    assert letter["headers"]["depth"] == {"a": [1]}
    assert letter["headers"]["x-original-expiration"] == "60000"
    ran = await mailroom.run("dead-letters", "show")
    for line in (
        "  content type  the content_type",
        "  priority  7",
        "  reply to  the reply_to",
        "  message id  the message_id",
        "  timestamp  2026-01-02T03:04:05Z",
        "  app id  a\\x1b",
        "  header   x-tenant: acme",
        "  header   x-original-expiration: 60000",
    ):
        assert f"{line}\n" in ran.out

    assert (await mailroom.run("dead-letters", "replay")).code == 0
    [message] = await mailroom.take(mailroom.input)
    restored: FieldTable = {
        "x-tenant": "acme",
        "depth": depth,
        "x-original-expiration": "60000",
        "x-broker-replays": "1",
    }
    assert dict(message.header.properties) == {
        **dict(its),
        "headers": restored,
        "delivery_mode": 2,
        "timestamp": None,
        "user_id": None,
    }


async def test_a_replay_of_some(mailroom: Mailroom) -> None:
    await mailroom.put({"x-broker-reason": "odd"}, b"?")
    for number in range(6):
        reason = "too_deep" if number % 2 else "invalid_json"
        await mailroom.park(b"%d" % number, x_broker_reason=reason)
    ran = await mailroom.run("dead-letters", "replay", "--reason", "too_deep", "--limit", "2")
    assert ran.out == "Replayed 2 messages.\n"
    assert bodies(await mailroom.take(mailroom.input)) == [b"1", b"3"]
    assert bodies(await mailroom.take(mailroom.dead_letter)) == [b"?", b"0", b"2", b"4", b"5"]


async def test_what_no_broker_parked_does_not_count_to_the_limit(mailroom: Mailroom) -> None:
    await mailroom.put({}, b"?", b"?")
    await mailroom.park(b"1", b"2")
    ran = await mailroom.run("dead-letters", "replay", "--limit", "1")
    assert ran.out == (
        "Replayed 1 message.\n"
        "Left alone: 2 messages, not a dead letter of a broker, "
        "its header x-broker-reason is missing.\n"
    )
    assert bodies(await mailroom.take(mailroom.dead_letter)) == [b"?", b"?", b"2"]


async def test_a_replay_into_any_of_several_input_queues(mailroom: Mailroom) -> None:
    other = f"{mailroom.input}_other"
    await mailroom.raw.declare(other)
    await mailroom.park(b"one")
    await mailroom.park(b"two", x_original_queue=other)
    queues = {"BROKER_INPUT_QUEUE": f"{mailroom.input},{other}"}
    ran = await mailroom.run("dead-letters", "replay", **queues)
    assert ran.out == "Replayed 2 messages.\n"
    assert bodies(await mailroom.take(mailroom.input)) == [b"one"]
    assert bodies(await mailroom.take(other)) == [b"two"]


async def test_no_header_makes_a_replay_write_to_any_queue(mailroom: Mailroom) -> None:
    await mailroom.raw.declare("somebody-elses")
    await mailroom.park(b"1", x_original_queue="somebody-elses")
    ran = await mailroom.run("dead-letters", "replay")
    left = "Left alone: 1 message, this broker does not read their queue"
    assert ran.code == 0
    assert ran.out.startswith(f"Replayed 0 messages.\n{left}")
    assert await mailroom.raw.ready("somebody-elses") == 0
    assert await mailroom.raw.ready(mailroom.dead_letter) == 1


async def test_a_queue_that_takes_no_more(mailroom: Mailroom) -> None:
    await mailroom.raw.delete(mailroom.input)
    full: dict[str, str | int] = {"x-max-length": 3, "x-overflow": "reject-publish"}
    await mailroom.raw.declare(mailroom.input, **full)
    await mailroom.park(*(b"%d" % number for number in range(10)))
    ran = await mailroom.run("dead-letters", "replay", "--format", "json")
    assert ran.code == 1
    replayed = ran.document["replayed"]
    assert 3 <= replayed < 10  # RabbitMQ may take one or two more
    problem = f"RabbitMQ refused them, is {mailroom.input!r} full?"
    assert ran.document["failed"] == {problem: 10 - replayed}
    assert ran.err == f"broker: {10 - replayed} messages left in place: {problem}\n"
    arrived = bodies(await mailroom.take(mailroom.input))
    left = bodies(await mailroom.take(mailroom.dead_letter))
    assert sorted(arrived + left) == [b"%d" % number for number in range(10)]
    assert left == sorted(left)


async def test_a_queue_that_is_gone_is_not_made(mailroom: Mailroom) -> None:
    await mailroom.raw.delete(mailroom.input)
    its = Basic.Properties(headers=mailroom.headers(), message_id="the sender's")
    await mailroom.raw.publish(mailroom.dead_letter, b"0", properties=its)
    await mailroom.park(b"1")
    await mailroom.park(b"2", x_original_queue=mailroom.metadata)
    problem = await mailroom.failure("dead-letters", "replay", out="Replayed 1 message.\n")
    missing = f"there is no queue {mailroom.input!r}"
    assert problem.startswith(f"broker: 2 messages left in place: {missing}")
    assert bodies(await mailroom.take(mailroom.dead_letter)) == [b"0", b"1"]
    assert mailroom.input not in await mailroom.node.ctl("list_queues", "name")


HOSTILE: list[tuple[dict[str, FieldValue], str]] = [
    ({}, "its header x-broker-reason is missing"),
    ({"x-broker-reason": ["a"]}, "its header x-broker-reason is no short text"),
    ({"x-broker-reason": "x"}, "its header x-original-queue is missing"),
]
TIMES: list[FieldValue] = ["9999-12-31T23:59:59-23:59", datetime.now(UTC)]
WITHOUT_REASON = [
    raw_content.header_table(b"h", raw_content.nested_table(15_000)),
    raw_content.header_table(b"\xff", b"I\0\0\0\x01"),
    raw_content.header_table(b"h", raw_content.nested_table(100)),
    raw_content.header_table(b"h", raw_content.long(b"\xff" * 100)),
    raw_content.header_table(b"h", raw_content.long(b"x" * 100_000)),
    raw_content.flags(raw_content.FLAG_TIMESTAMP) + b"\xff" * 8,
    raw_content.header_table(b"\x1b[2J", b"I\0\0\0\x01"),
]
STRANGE_REASON = raw_content.header_table(b"x-broker-reason", raw_content.long(b"\xff\x1b[2J"))


async def test_hostile_properties(mailroom: Mailroom) -> None:
    problems = [problem for _, problem in HOSTILE]
    for headers, _ in HOSTILE:
        await mailroom.put(headers, b"hostile")
    for time in TIMES:
        await mailroom.put(mailroom.headers(x_dead_lettered_at=time), b"hostile")
        problems.append("x-dead-lettered-at is no")
    for properties in (*WITHOUT_REASON, STRANGE_REASON):
        content = raw_content.Content(b"hostile", properties)
        await mailroom.raw.publish_content(mailroom.dead_letter, content)
    problems += ["x-broker-reason is missing"] * len(WITHOUT_REASON)
    problems.append("x-broker-reason is no short text")
    await mailroom.raw.publish_content(
        mailroom.dead_letter, raw_content.Content(b"hostile", routing_key=b"\xff\xfe")
    )
    problems.append("x-broker-reason is missing")
    await mailroom.park(b"well", x_broker_error="\x1b[2J" + "x" * 300, x_broker_id=5, n=-1)

    *strange, well = await mailroom.list()
    for letter, problem in zip(strange, problems, strict=True):
        assert problem in letter["problem"]
        assert (letter["reason"], letter["replays"], letter["size"]) == (None, None, 7)
    assert (well["problem"], well["broker_id"], len(well["error"])) == (None, "", 255)
    for what in ("list", "show"):
        ran = await mailroom.run("dead-letters", what)
        assert (ran.code, ran.err) == (0, "")
        assert "\x1b" not in ran.out
    json.loads(
        (await mailroom.run("dead-letters", "show", "--format", "json")).out,
        parse_constant=pytest.fail,
    )
    assert len(await mailroom.list("--reason", "too_deep")) == 0

    ran = await mailroom.run("dead-letters", "replay", "--format", "json")
    assert (ran.code, ran.document["replayed"]) == (0, 1)
    assert sum(ran.document["left"].values()) == len(strange)
    assert await mailroom.list() == strange
    ran = await mailroom.run("dead-letters", "purge", "--all")
    assert ran.out == f"Removed {len(strange)} messages.\n"


async def test_a_count_that_is_none_begins_anew_and_one_has_an_end(mailroom: Mailroom) -> None:
    no_counts: list[FieldValue] = ["-1", "1.5", "", "9" * 7, "²", "0x1", " 1", 3, None, ["1"]]
    for said in (*no_counts, "999999"):
        await mailroom.park(b"1", x_broker_replays=said)
    assert (await mailroom.run("dead-letters", "replay")).code == 0
    headers = [one.header.properties.headers for one in await mailroom.take(mailroom.input)]
    counts = ["1"] * len(no_counts) + ["999999"]
    assert headers == [{"x-broker-replays": count} for count in counts]


@pytest.fixture
async def server() -> AsyncIterator[CentralServer]:
    async with open_central_server() as server:
        bring_online(server)
        yield server


@pytest.fixture
async def rig(rabbitmq: RabbitmqNode, tmp_path: Path, mailroom: Mailroom) -> Rig:
    """The queues of a broker, which are those of the commands."""
    rig = Rig(rabbitmq, tmp_path)
    mailroom.dead_letter, mailroom.input = rig.dead_letter, rig.input
    mailroom.settings |= {
        "BROKER_INPUT_QUEUE": rig.input,
        "BROKER_DEAD_LETTER_QUEUE": rig.dead_letter,
    }
    return rig


async def test_what_the_broker_parks_comes_back_to_it(
    rig: Rig, server: CentralServer, mailroom: Mailroom
) -> None:
    big = text(1, "agent_0", text_payload="x" * 2000)
    async with rig.broker(server.url, BROKER_MAX_MESSAGE_BYTES="1000"):
        await rig.logged("routing_started")
        await rig.publish(rig.input, big, b"never JSON")
        await mailroom.holds(rig.dead_letter, 2)
        for count in (1, 2):
            # Both come back at once, while the broker runs.
            ran = await mailroom.run("dead-letters", "replay")
            assert ran.out == "Replayed 2 messages.\n"
            await mailroom.holds(rig.dead_letter, 2)
            letters = await mailroom.list()
            assert [(one["reason"], one["replays"]) for one in letters] == [
                ("too_large", count),
                ("invalid_json", count),
            ]
    async with rig.broker(server.url):
        ran = await mailroom.run("dead-letters", "replay")
        assert ran.out == "Replayed 2 messages.\n"
        [routed] = await rig.take(rig.output, 1)
        assert json.loads(routed.body)["message_id"] == "m-1"
        assert not routed.header.properties.headers
        await mailroom.holds(rig.dead_letter, 1)
        [letter] = await mailroom.list()
        assert (letter["reason"], letter["replays"]) == ("invalid_json", 3)


async def test_a_dead_letter_keeps_all_properties_and_a_replay_restores_them(
    rig: Rig, server: CentralServer, mailroom: Mailroom
) -> None:
    headers: FieldTable = {
        "x-tenant": "acme",
        "nested": {"a": [1, None]},
        "CC": ["nowhere"],
        "BCC": ["nowhere"],
    }
    original = full_properties(
        headers=headers,
        delivery_mode=1,
        expiration="3600000",
        timestamp=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    kept = {**dict(original), "delivery_mode": 2, "user_id": None, "expiration": None}
    kept.pop("headers")
    async with rig.broker(server.url):
        await rig.logged("routing_started")
        await rig.publish(rig.input, b"{", properties=original)
        [letter] = await rig.take(rig.dead_letter, 1)
        # As it is, the broker can process it no better, and dead-letters it again.
        await rig.publish(rig.dead_letter, letter.body, properties=letter.header.properties)
        ran = await mailroom.run("dead-letters", "replay")
        assert ran.out == "Replayed 1 message.\n"
        [again] = await rig.take(rig.dead_letter, 1)
    for one, replays in ((letter, {}), (again, {"x-broker-replays": "1"})):
        found: dict[str, Any] = dict(one.header.properties)
        headers = found.pop("headers")
        assert found == kept
        assert headers.pop("x-dead-lettered-at")
        assert headers.pop("x-broker-error")
        assert headers == {
            "x-tenant": "acme",
            "nested": {"a": [1, None]},
            "x-broker-reason": "invalid_json",
            "x-original-queue": rig.input,
            "x-original-expiration": "3600000",
            "x-broker-id": "broker-1",
            **replays,
        }


async def test_quorum_queues(mailroom: Mailroom) -> None:
    for queue in (mailroom.dead_letter, mailroom.input):
        await mailroom.raw.delete(queue)
        quorum: dict[str, str | int] = {"x-queue-type": "quorum"}
        await mailroom.raw.declare(queue, **quorum)
    expected = [b"%d" % number for number in range(MANY)]
    await mailroom.park(*expected)
    assert len(await mailroom.list()) == MANY
    ran = await mailroom.run("dead-letters", "replay", "--limit", "150")
    assert ran.out == "Replayed 150 messages.\n"
    ran = await mailroom.run("dead-letters", "show", "--format", "json")
    left = [letter["body"].encode() for letter in ran.document]
    ran = await mailroom.run("dead-letters", "purge", "--all")
    assert ran.out == f"Removed {MANY - 150} messages.\n"
    # RabbitMQ itself puts what was looked at back in an order of its own.
    arrived = bodies(await mailroom.raw.take(mailroom.input, 150))
    assert sorted(arrived + left) == sorted(expected)
