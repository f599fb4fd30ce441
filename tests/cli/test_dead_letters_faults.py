"""`broker dead-letters` when it is interrupted, killed, or RabbitMQ does not do its part."""

import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from tests.cli.mailroom import Mailroom, bodies, ended
from tests.lab.limits import alarmed
from tests.sandbox.programs import free_port

pytestmark = pytest.mark.exhaustive

MANY = 4_000
WINDOW = 100
FULL = Path("/dev/full")
LETTERS = [b"%d" % number for number in range(MANY)]


async def all_there(mailroom: Mailroom) -> tuple[list[bytes], list[bytes]]:
    """Wait until RabbitMQ has back what was held, and return both queues."""
    replayed = await mailroom.raw.ready(mailroom.input)
    await mailroom.holds(mailroom.dead_letter, MANY - replayed)
    return (
        bodies(await mailroom.take(mailroom.input)),
        bodies(await mailroom.take(mailroom.dead_letter)),
    )


async def test_an_interrupted_replay_tells_how_far_it_came(mailroom: Mailroom) -> None:
    await mailroom.park(*LETTERS)
    async with mailroom.running("dead-letters", "replay") as process:
        await mailroom.holds(mailroom.input, 2 * WINDOW)
        process.send_signal(signal.SIGHUP)
        ran = await ended(process)
    arrived, left = await all_there(mailroom)
    assert ran.code == 130
    assert (ran.out, ran.err) == (f"Replayed {len(arrived)} messages.\n", "")
    assert left
    # Nothing is lost, nothing came twice, and all is in its order.
    assert arrived + left == LETTERS


async def nothing_is_lost(mailroom: Mailroom) -> None:
    """A window may have come twice."""
    arrived, left = await all_there(mailroom)
    assert left == LETTERS[-len(left) :]
    assert arrived == LETTERS[: len(arrived)]
    assert MANY <= len(arrived) + len(left) <= MANY + WINDOW


async def test_a_killed_replay_loses_nothing(mailroom: Mailroom) -> None:
    await mailroom.park(*LETTERS)
    async with mailroom.running("dead-letters", "replay") as process:
        await mailroom.holds(mailroom.input, 2 * WINDOW)
        process.kill()
        await process.wait()
    await nothing_is_lost(mailroom)


async def test_an_interrupted_purge_tells_how_far_it_came(mailroom: Mailroom) -> None:
    await mailroom.park(*LETTERS)
    async with mailroom.running("dead-letters", "purge", "--all") as process:
        while await mailroom.raw.ready(mailroom.dead_letter) > MANY - 2 * WINDOW:
            await trio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
    assert (ran.code, ran.err) == (130, "")
    removed = int(ran.out.split()[1])
    await mailroom.holds(mailroom.dead_letter, MANY - removed)
    assert bodies(await mailroom.take(mailroom.dead_letter)) == LETTERS[removed:]


async def test_rabbitmq_goes_away_under_a_replay(mailroom: Mailroom) -> None:
    await mailroom.park(*LETTERS)
    async with mailroom.running("dead-letters", "replay") as process:
        await mailroom.holds(mailroom.input, 2 * WINDOW)
        os.kill(process.pid, signal.SIGSTOP)
        await mailroom.node.ctl("close_all_connections", "maintenance")
        os.kill(process.pid, signal.SIGCONT)
        ran = await ended(process)
    await nothing_is_lost(mailroom)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "AMQP_URL" in ran.err
    assert ran.out.startswith("Replayed ")


async def test_others_consume_meanwhile(mailroom: Mailroom) -> None:
    await mailroom.park(*LETTERS)
    async with mailroom.running("dead-letters", "replay") as process:
        await mailroom.holds(mailroom.input, 2 * WINDOW)
        taken = bodies(await mailroom.raw.take_until_quiet(mailroom.dead_letter, 500, 1))
        ran = await ended(process)
    assert (ran.code, ran.err) == (0, "")
    assert taken
    assert await mailroom.raw.ready(mailroom.dead_letter) == 0
    assert sorted(taken + bodies(await mailroom.take(mailroom.input))) == sorted(LETTERS)


async def test_a_list_that_nobody_reads_to_its_end(mailroom: Mailroom) -> None:
    await mailroom.park(*LETTERS)
    for what in ("list", "show"):
        async with mailroom.running("dead-letters", what) as process:
            assert process.stdout is not None
            await process.stdout.receive_some(10)
            await process.stdout.aclose()
            assert await process.wait() == 0
            assert process.stderr is not None
            assert await process.stderr.receive_some() == b""
    await mailroom.holds(mailroom.dead_letter, MANY)
    assert bodies(await mailroom.take(mailroom.dead_letter)) == LETTERS


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is full")
async def test_nothing_can_be_written(mailroom: Mailroom) -> None:
    await mailroom.park(b"1")
    full = os.open(FULL, os.O_WRONLY)
    try:
        for arguments in (("dead-letters", "list"), ("send", "hello")):
            async with mailroom.running(*arguments, stdout=full) as process:
                assert await process.wait() == 1
                assert process.stderr is not None
                said = await process.stderr.receive_some()
            assert said.startswith(b"broker: cannot write to standard output: No space left")
            assert said.count(b"\n") == 1
    finally:
        os.close(full)


async def test_a_terminal_shows_how_far_a_long_replay_is(mailroom: Mailroom) -> None:
    await mailroom.park(*LETTERS[: 2 * WINDOW + 50])
    terminal, tty = os.openpty()
    try:
        async with mailroom.running("dead-letters", "replay", stderr=tty) as process:
            assert await process.wait() == 0
            assert process.stdout is not None
            assert await process.stdout.receive_some() == b"Replayed 250 messages.\n"
        shown = os.read(terminal, 1 << 16)
    finally:
        os.close(tty)
        os.close(terminal)
    assert b"100/250" in shown
    assert b"250/250" in shown


async def test_an_alarm(mailroom: Mailroom) -> None:
    await mailroom.park(b"1")
    impatient = (
        "import sys; from broker.cli import in_session; "
        "from broker.cli.application import execute; "
        "in_session.PATIENCE = 1; sys.exit(execute(sys.argv[1:]))"
    )
    command = (sys.executable, "-P", "-c", impatient)
    async with (
        alarmed(mailroom.node),
        mailroom.running("dead-letters", "replay", command=command) as process,
    ):
        ran = await ended(process)
    assert (ran.code, ran.out) == (1, "Replayed 0 messages.\n")
    [line] = ran.err.splitlines()
    assert line.startswith("broker: RabbitMQ blocks publishing, as when its memory or disk is full")
    await mailroom.holds(mailroom.dead_letter, 1)


@pytest.mark.parametrize(
    "command", [("dead-letters", "replay"), ("dead-letters", "purge", "--all"), ("send", "hello")]
)
async def test_no_node(mailroom: Mailroom, command: tuple[str, ...]) -> None:
    line = await mailroom.failure(*command, AMQP_URL=f"amqp://127.0.0.1:{free_port()}")
    assert line.startswith("broker: connecting to amqp://guest@127.0.0.1:")
    assert "connection refused" in line
    assert line.endswith("; check that RabbitMQ runs, and check AMQP_URL")


@pytest.mark.parametrize("command", [("dead-letters", "list"), ("send", "hello")])
async def test_not_let_in(mailroom: Mailroom, command: tuple[str, ...]) -> None:
    port = urlsplit(mailroom.node.url).port
    for url, problem in (
        (f"amqp://guest:Tr0ub4dor@127.0.0.1:{port}/", "refused the login"),
        (f"amqp://127.0.0.1:{port}/nowhere", "nowhere"),
    ):
        line = await mailroom.failure(*command, AMQP_URL=url)
        assert problem in line
        assert "Tr0ub4dor" not in line


async def test_another_node_is_tried(mailroom: Mailroom) -> None:
    await mailroom.park(b"1")
    urls = f"amqp://127.0.0.1:{free_port()},{mailroom.node.url}"
    ran = await mailroom.run("dead-letters", "replay", AMQP_URL=urls)
    assert (ran.code, ran.out, ran.err) == (0, "Replayed 1 message.\n", "")


async def test_there_is_no_such_queue(mailroom: Mailroom) -> None:
    await mailroom.raw.delete(mailroom.dead_letter)
    for what in (("list",), ("replay",), ("purge", "--all")):
        ran = await mailroom.run("dead-letters", *what)
        assert ran.code == 1
        [line] = ran.err.splitlines()
        assert f"no queue '{mailroom.dead_letter}'" in line
        assert "a broker creates its queues when it starts" in line
    assert mailroom.dead_letter not in await mailroom.node.ctl("list_queues", "name")
