"""Dead letters in parts: handled as one, whatever order and company they are in."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from broker.amqp import Delivery, Publishing, dead_letter
from broker.amqp.admin import Got
from broker.amqp.parts import in_parts
from broker.cli.dead_letters.gathering import Gathering
from broker.cli.dead_letters.window import SIZE
from tests.cli.mailroom import Mailroom, bodies
from tests.lab.limits import limited


def letter(body: bytes, queue: str = "input") -> Publishing:
    return dead_letter(
        Delivery(queue, 1, body), queue="dead", reason="too_large", error="", broker_id="broker-1"
    )


def got(publishings: Sequence[Publishing]) -> list[Got]:
    return [
        Got(number, publishing.body, 0, publishing.headers)
        for number, publishing in enumerate(publishings, 1)
    ]


@given(st.binary(max_size=300), st.integers(1, 100))
def test_no_part_is_larger_than_allowed_and_together_they_are_the_whole(
    body: bytes, size: int
) -> None:
    parts = list(in_parts(letter(body), size))
    assert all(len(part.body) <= size for part in parts)
    assert b"".join(part.body for part in parts) == body
    assert all(part.body for part in parts) or not body


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.randoms())
def test_parts_in_any_order_and_company_become_what_they_were(
    wholes: list[bytes], order: random.Random
) -> None:
    strangers = [Publishing("dead", b"stranger", ""), Publishing("dead", b"", "")]
    messages = [part for whole in wholes for part in in_parts(letter(whole), 7)] + strangers
    order.shuffle(messages)
    gathering = Gathering()
    found = [gathering.add(*one) for one in enumerate(got(messages), 1)]
    letters = [one for one in found if one is not None]
    assert sorted(one.message.body for one in letters) == sorted([*wholes, b"stranger", b""])
    assert sorted(one.tag for letter in letters for one in letter.in_queue) == list(
        range(1, len(messages) + 1)
    )
    assert all(one.is_complete for one in letters)
    assert list(gathering.incomplete()) == []


def test_what_lacks_parts_says_so_and_comes_at_the_end() -> None:
    gathering = Gathering()
    first, _, third = got(list(in_parts(letter(b"abc"), 1)))
    assert gathering.add(1, first) is None
    assert gathering.add(2, third) is None
    [incomplete] = gathering.incomplete()
    assert (incomplete.number, incomplete.message.body) == (2, b"ac")
    assert not incomplete.is_complete
    assert incomplete.problem == "only 2 of its 3 parts are in the queue"
    assert incomplete.label is not None
    assert incomplete.age(datetime.now(UTC)) is not None


def test_a_part_that_is_there_twice_hides_nothing() -> None:
    gathering = Gathering()
    first, second = got(list(in_parts(letter(b"ab"), 1)))
    assert gathering.add(1, first) is None
    stray = gathering.add(2, first)
    assert stray is not None
    assert stray.message.body == b"a"
    whole = gathering.add(3, second)
    assert whole is not None
    assert whole.message.body == b"ab"


async def put_parts(mailroom: Mailroom, parts: Sequence[Publishing]) -> None:
    for part in parts:
        await mailroom.put(dict(part.headers), part.body)


async def test_the_commands_handle_parts_as_one(mailroom: Mailroom) -> None:
    body = random.Random(1).randbytes(120)
    parts = list(in_parts(letter(body, mailroom.input), 1))
    assert len(parts) > SIZE, "more than a window"
    await mailroom.park(b"before")
    await put_parts(mailroom, parts)
    await mailroom.park(b"behind")

    listed = await mailroom.list()
    assert [(one["size"], one["parts"]) for one in listed] == [(6, 1), (120, 120), (6, 1)]
    shown = await mailroom.run("dead-letters", "show", "--reason", "too_large")
    assert "parts    120" in shown.out
    assert "x-broker-part" not in shown.out
    ran = await mailroom.run("dead-letters", "replay", "--reason", "too_large")
    assert (ran.code, ran.out) == (0, "Replayed 1 message.\n")
    [replayed] = await mailroom.take(mailroom.input)
    assert replayed.body == body
    assert "x-broker-part-group" not in (replayed.header.properties.headers or {})
    assert bodies(await mailroom.take(mailroom.dead_letter)) == [b"before", b"behind"]


async def test_what_lacks_parts_is_not_replayed_but_can_be_removed(mailroom: Mailroom) -> None:
    await put_parts(mailroom, list(in_parts(letter(b"abc", mailroom.input), 1))[:2])
    [listed] = await mailroom.list()
    assert listed["problem"] == "only 2 of its 3 parts are in the queue"
    ran = await mailroom.run("dead-letters", "replay")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "Replayed 0 messages.")
    assert "parts of them are missing" in ran.out
    ran = await mailroom.run("dead-letters", "purge", "--reason", "too_large")
    assert (ran.code, ran.out) == (0, "Removed 1 message.\n")
    assert await mailroom.raw.ready(mailroom.dead_letter) == 0


async def test_what_rabbitmq_does_not_take_any_more_stays_and_stops_nobody(
    mailroom: Mailroom,
) -> None:
    await put_parts(mailroom, list(in_parts(letter(b"x" * 5000, mailroom.input), 2000)))
    await mailroom.park(b"before", b"x" * 20_000, b"behind")
    async with limited(mailroom.node, "max_message_size", 2000):
        ran = await mailroom.run("dead-letters", "replay")
    assert (ran.code, ran.out) == (1, "Replayed 2 messages.\n")
    for size in (5000, 20_000):
        assert f"message size {size} is larger than configured max size 2000" in ran.err
    assert bodies(await mailroom.take(mailroom.input)) == [b"before", b"behind"]
    assert await mailroom.raw.ready(mailroom.dead_letter) == 4
