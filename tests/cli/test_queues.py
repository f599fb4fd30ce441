"""`broker queues list` and `migrate` on a real RabbitMQ node."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import aiormq
import pytest
import trio
from aiormq.abc import DeliveredMessage
from anyio.from_thread import BlockingPortal
from pamqp.commands import Basic

from broker.amqp.admin.mover import _Reader
from broker.amqp.connection import Connection
from broker.net.endpoints import parse_amqp_urls
from tests.cli.commands import PATIENCE, Ran
from tests.cli.mailroom import Mailroom, bodies, ended, full_properties
from tests.lab import raw_content
from tests.lab.limits import limited
from tests.lab.rabbitmq_node import RabbitmqNode

MANY = 230
"""More than two windows."""
LETTERS = [b"%d" % number for number in range(MANY)]
ROLES = ["input", "input", "metadata", "advertisement", "output", "output", "dead letter"]


class Postroom(Mailroom):
    """All the queues of a broker."""

    def __init__(self, node: RabbitmqNode, portal: BlockingPortal) -> None:
        super().__init__(node)
        self.portal = portal
        number = uuid4().hex[:8]
        self.second = f"input-{number}.1"
        self.advertisement = f"advertisement-{number}"
        self.outputs = (f"output-{number}.0", f"output-{number}.1")
        self.all = [
            *(self.input, self.second, self.metadata, self.advertisement),
            *(*self.outputs, self.dead_letter),
        ]
        self.settings |= {
            "BROKER_INPUT_QUEUE": f"{self.input},{self.second}",
            "BROKER_OUTPUT_QUEUE": ",".join(self.outputs),
            "BROKER_ADVERTISEMENT_QUEUE": self.advertisement,
        }

    async def types(self) -> dict[str, str]:
        """Return the types of the queues of this test, whatever they are called."""
        listed = await self.node.ctl("list_queues", "name", "type")
        found = dict(line.split("\t") for line in listed.splitlines())
        numbers = {one.rpartition("-")[2].partition(".")[0] for one in self.all}
        return {
            name: kind for name, kind in found.items() if any(number in name for number in numbers)
        }

    async def exchanges(self) -> list[str]:
        listed = await self.node.ctl("list_exchanges", "name")
        return [name for name in listed.splitlines() if self.input in name]

    async def migrate(self, kind: str = "quorum", *options: str) -> Ran:
        return await self.run("queues", "migrate", "--type", kind, *options)

    async def migrated(self, kind: str = "quorum") -> dict[str, Any]:
        """Migrate, and return what became of the input queue."""
        ran = await self.migrate(kind, "--format", "json")
        assert (ran.code, ran.err) == (0, "")
        assert await self.types() == dict.fromkeys(self.all, kind)
        assert await self.exchanges() == []
        [one] = [one for one in ran.document["queues"] if one["queue"] == self.input]
        found: dict[str, Any] = one
        return found

    async def user(self, configure: str) -> str:
        """Add a user with a name of this test's, and return the node's URL with its login."""
        await self.node.ctl("add_user", self.input, "secret")
        await self.node.ctl("set_permissions", self.input, configure, ".*", ".*")
        return self.node.url.replace("guest:guest", f"{self.input}:secret")

    @asynccontextmanager
    async def held(self, queue: str, *, is_lock: bool = False) -> AsyncIterator[None]:
        """Consume a queue, or hold a lock."""

        async def ignore(_: DeliveredMessage) -> None: ...

        async def open_one() -> Any:
            connection = await aiormq.connect(self.node.url)
            channel = await connection.channel()
            if is_lock:
                await channel.queue_declare(queue, exclusive=True)
            else:
                await channel.basic_consume(queue, ignore)
            return connection

        connection = await self.portal.call_async(open_one)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await self.portal.call_async(connection.close)


@pytest.fixture
def mailroom(rabbitmq: RabbitmqNode, portal: BlockingPortal) -> Postroom:
    return Postroom(rabbitmq, portal)


async def declare_all(mailroom: Postroom, **arguments: str | int) -> None:
    for queue in mailroom.all:
        await mailroom.raw.declare(queue, **arguments)


async def test_a_list_tells_what_is_there(mailroom: Postroom) -> None:
    await mailroom.raw.declare(mailroom.input)
    await mailroom.raw.declare(mailroom.metadata, **{"x-queue-type": "quorum"})
    await mailroom.raw.declare(mailroom.outputs[0], **{"x-queue-type": "classic"})
    await mailroom.raw.declare(mailroom.outputs[1], **{"x-max-length": 5})
    await mailroom.raw.declare(f"{mailroom.metadata}.migrating")
    await mailroom.raw.publish(mailroom.input, b"1", b"2")
    await mailroom.raw.publish(f"{mailroom.metadata}.migrating", b"1")
    async with mailroom.held(mailroom.metadata):
        ran = await mailroom.run("queues", "list", "--format", "json")
        table = await mailroom.run("queues", "list")
    assert (ran.code, ran.err, table.code, table.err) == (0, "", 0, "")
    found = {
        one["queue"]: (one["exists"], one["type"], one["ready"], one["consumers"], one["migrating"])
        for one in ran.document
    }
    missing = (False, None, None, None, None)
    assert [one["role"] for one in ran.document] == ROLES
    assert found == {
        mailroom.input: (True, "classic", 2, 0, None),
        mailroom.second: missing,
        mailroom.metadata: (True, "quorum", 0, 1, 1),
        mailroom.advertisement: missing,
        mailroom.outputs[0]: (True, "classic", 0, 0, None),
        mailroom.outputs[1]: (True, None, 0, 0, None),
        mailroom.dead_letter: missing,
    }
    heading, first, second, *_ = table.out.splitlines()
    assert heading.split() == ["queue", "role", "exists", "type", "ready", "consumers"]
    assert first.split() == [mailroom.input, "input", "yes", "classic", "2", "0"]
    assert second.split() == [mailroom.second, "input", "no", "-", "-", "-"]
    assert "run 'broker queues migrate' again" in table.out.splitlines()[-1]
    # Nothing was made by looking.
    assert set(await mailroom.types()) == {
        *(name for name, one in found.items() if one[0]),
        f"{mailroom.metadata}.migrating",
    }


def without_advice(out: str) -> list[str]:
    *lines, advice = out.splitlines()
    assert "run 'broker queues policy'" in advice
    return lines


@pytest.mark.exhaustive
@pytest.mark.rabbitmq_version
async def test_there_and_back(mailroom: Postroom) -> None:
    await declare_all(mailroom)
    for queue in mailroom.all:
        await mailroom.raw.publish(queue, *LETTERS)
    ran = await mailroom.migrate()
    assert (ran.code, ran.err) == (0, "")
    sentence = f"classic -> quorum, {MANY} messages put aside, {MANY} messages brought back"
    assert without_advice(ran.out) == [f"{queue}: {sentence}" for queue in mailroom.all]
    assert await mailroom.types() == dict.fromkeys(mailroom.all, "quorum")
    ran = await mailroom.migrate()
    assert (ran.code, ran.err) == (0, "")
    kept = [f"{one}: quorum already, left alone" for one in mailroom.all]
    assert without_advice(ran.out) == kept
    assert await mailroom.migrated("classic") == {
        "queue": mailroom.input,
        "before": "quorum",
        "after": "classic",
        "outcome": "migrated",
        "moved_out": MANY,
        "moved_back": MANY,
        "without_user_id": 0,
    }
    for queue in mailroom.all:
        assert bodies(await mailroom.take(queue)) == LETTERS
    await mailroom.raw.declare(mailroom.input)  # as peers do, without arguments


async def test_missing_queues_are_created(mailroom: Postroom) -> None:
    ran = await mailroom.migrate("quorum", "--dry-run")
    would = "is missing, would be created as quorum"
    assert ran.out.splitlines() == [f"{queue}: {would}" for queue in mailroom.all]
    assert await mailroom.types() == {}
    ran = await mailroom.migrate()
    assert (ran.code, ran.err) == (0, "")
    created = [f"{queue}: was missing, created as quorum" for queue in mailroom.all]
    assert without_advice(ran.out) == created
    assert await mailroom.types() == dict.fromkeys(mailroom.all, "quorum")


@pytest.mark.exhaustive
async def test_messages_stay_as_they_are(mailroom: Postroom) -> None:
    """Every property, a CC header that leads elsewhere, a user, and bytes that nobody can parse."""
    await declare_all(mailroom)
    headers: dict[str, Any] = {
        "CC": [mailroom.metadata],
        "n": 1,
        "t": {"x": [None, True, "ü"]},
        "b": bytearray(b"\xff"),
    }
    full = full_properties(headers=headers, delivery_mode=2, expiration="99999999")
    exchange = f"fanout-{mailroom.input}"

    async def publish() -> None:
        async with aiormq.connect(mailroom.node.url) as connection:
            channel = await connection.channel()
            await channel.exchange_declare(exchange, exchange_type="fanout")
            await channel.queue_bind(mailroom.input, exchange)
            await channel.basic_publish(
                b"full", exchange=exchange, routing_key="k", properties=full
            )
            await channel.exchange_delete(exchange)

    await mailroom.portal.call_async(publish)
    poison = raw_content.header_table(b"a", raw_content.long(b"\xff\xfe"))
    deep = raw_content.header_table(b"a", raw_content.nested_table(200))
    await mailroom.raw.publish_content(
        mailroom.input,
        raw_content.Content(b"poison", poison),
        raw_content.Content(b"", deep),
        raw_content.Content(b"x" * 300_000),
    )
    raw = await contents(mailroom)
    assert len(raw) == 4
    done = await mailroom.migrated()
    assert (done["moved_back"], done["without_user_id"]) == (4, 0)
    assert await contents(mailroom) == raw
    assert await mailroom.raw.ready(mailroom.metadata) == 0
    await mailroom.migrated("classic")
    message, *_ = await mailroom.take(mailroom.input)
    # RabbitMQ adds it to what was returned to a quorum queue, as it was to be looked at above.
    headers = dict(message.header.properties.headers or {})
    assert headers.pop("x-delivery-count") == 1
    assert {**dict(message.header.properties), "headers": headers} == dict(full)


async def contents(mailroom: Postroom) -> list[tuple[bytes, bytes]]:
    """Return flags, properties and body of all messages, read byte for byte, and put them back."""
    return await mailroom.portal.call_async(_contents, mailroom.node.url, mailroom.input)


async def _contents(url: str, queue: str) -> list[tuple[bytes, bytes]]:
    connection = Connection(parse_amqp_urls(url)[0], name="test")
    await connection.open()
    channel = await connection.aiormq.channel(publisher_confirms=False)
    reader = _Reader(channel)
    connection.frames.add_taker(channel.number, reader)
    await reader.start(queue)
    await asyncio.sleep(0.5)
    found = [(one.properties, one.body) for one in await reader.stop()]
    await connection.close()
    return found


async def test_a_strangers_name_is_left_behind(mailroom: Postroom) -> None:
    await declare_all(mailroom)
    url = await mailroom.user(".*")

    async def publish() -> None:
        async with aiormq.connect(url) as connection:
            channel = await connection.channel()
            properties = Basic.Properties(
                user_id=mailroom.input, app_id="a", headers={"x": "y"}, message_type="t"
            )
            await channel.basic_publish(b"1", routing_key=mailroom.input, properties=properties)

    await mailroom.portal.call_async(publish)
    ran = await mailroom.migrate()
    assert ran.code == 0
    assert ran.out.splitlines()[0].endswith("1 of them without their user_id")
    [message] = await mailroom.take(mailroom.input)
    properties = message.header.properties
    assert (properties.user_id, properties.app_id, properties.message_type) == (None, "a", "t")
    assert properties.headers == {"x": "y"}


async def test_a_consumer_forbids_it(mailroom: Postroom) -> None:
    kind, other = "classic", "quorum"
    await declare_all(mailroom)
    await mailroom.raw.publish(mailroom.input, b"1")
    async with mailroom.held(mailroom.dead_letter):
        ran = await mailroom.migrate(other)
        assert (ran.code, ran.out) == (1, "")
        problem, last = ran.err.splitlines()
        assert problem == (
            f"broker: '{mailroom.dead_letter}' is read by 1 consumer: stop the brokers and the "
            "central server, and all publishers"
        )
        assert last == "broker: no queue was changed"
        planned = await mailroom.migrate(other, "--dry-run")
        assert (planned.code, planned.err) == (1, f"{problem}\n")
        change = f"{mailroom.input}: would change from {kind} to {other}, with 1 message"
        assert planned.out.splitlines()[0] == change
        # Nothing is to be done, so nobody is in the way.
        assert (await mailroom.migrate(kind)).code == 0
    assert await mailroom.types() == dict.fromkeys(mailroom.all, kind)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"x-max-length": 5}, "would lose its argument x-max-length"),
        ({"x-queue-type": "quorum", "x-delivery-limit": 5}, "its argument x-delivery-limit"),
        ({"x-queue-type": "stream"}, "is a stream"),
    ],
)
async def test_queues_that_would_lose_something(
    mailroom: Postroom, arguments: dict[str, str | int], problem: str
) -> None:
    await mailroom.raw.declare(mailroom.input, **arguments)
    kind = "classic" if "x-queue-type" in arguments else "quorum"
    ran = await mailroom.migrate(kind)
    assert (ran.code, ran.out) == (1, "")
    assert problem in ran.err.splitlines()[0]
    assert list(await mailroom.types()) == [mailroom.input]


async def test_a_message_from_before_a_limit_stops_it_until_the_limit_is_raised(
    mailroom: Postroom,
) -> None:
    await declare_all(mailroom)
    await mailroom.raw.publish(mailroom.input, b"x" * 2000, b"small")
    async with limited(mailroom.node, "max_message_size", 1000):
        ran = await mailroom.run("queues", "migrate", "--type", "quorum")
        assert ran.code == 1
        assert "larger than configured max size 1000" in ran.err
        assert "raise that until this is done" in ran.err
    ran = await mailroom.run("queues", "migrate", "--type", "quorum")
    assert ran.code == 0
    assert bodies(await mailroom.take(mailroom.input)) == [b"x" * 2000, b"small"]


async def test_one_migration_at_a_time(mailroom: Postroom) -> None:
    await declare_all(mailroom)
    async with mailroom.held(f"{mailroom.second}.migrating.lock", is_lock=True):
        ran = await mailroom.migrate()
    assert (ran.code, ran.out) == (1, "")
    assert f"another migration of '{mailroom.second}' is running" in ran.err
    assert await mailroom.types() == dict.fromkeys(mailroom.all, "classic")


async def test_a_user_without_the_right(mailroom: Postroom) -> None:
    await declare_all(mailroom)
    url = await mailroom.user("^$")
    listed = await mailroom.run("queues", "list", "--format", "json", AMQP_URL=url)
    assert [(one["exists"], one["type"]) for one in listed.document] == [(True, None)] * 7
    ran = await mailroom.run("queues", "migrate", "--type", "quorum", AMQP_URL=url)
    assert (ran.code, ran.out) == (1, "")
    assert "the type of" in ran.err
    assert "may the user configure it?" in ran.err


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_it_goes_on_where_it_stopped(mailroom: Postroom, number: signal.Signals) -> None:
    """Stopped in the midst of each direction, as often as it takes."""
    many = [b"%d" % one for one in range(4_000)]
    await declare_all(mailroom)
    await mailroom.raw.publish(mailroom.input, *many)
    for is_back in (False, True):
        async with mailroom.running("queues", "migrate", "--type", "quorum") as process:
            await fills(mailroom, len(many))
            if is_back:
                await empties(mailroom, len(many))
            process.send_signal(number)
            ran = await ended(process)
        if number is signal.SIGINT:
            assert ran.code == 130
            assert ran.err == (
                "broker: unfinished; nothing is lost: run the same command again to continue\n"
            )
        listed = await mailroom.run("queues", "list")
        assert "a migration is unfinished" in listed.out
    done = await mailroom.migrated()
    assert done["outcome"] == "migrated"
    arrived = [int(body) for body in bodies(await mailroom.take(mailroom.input))]
    firsts = list(dict.fromkeys(arrived))
    assert firsts == list(range(len(many)))
    if number is signal.SIGINT:
        assert len(arrived) == len(many)


async def fills(mailroom: Postroom, most: int) -> None:
    """Wait until some messages were put aside, and others are still to come."""
    with trio.fail_after(PATIENCE):
        while not 0 < await aside(mailroom) < most:
            await trio.sleep(0.005)


async def empties(mailroom: Postroom, most: int) -> None:
    """Wait until all messages were put aside, and some were brought back."""
    with trio.fail_after(PATIENCE):
        while await aside(mailroom) < most:
            await trio.sleep(0.005)
        await fills(mailroom, most)


async def aside(mailroom: Postroom) -> int:
    with suppress(ConnectionError):
        return await mailroom.raw.ready(f"{mailroom.input}.migrating")
    return 0
