"""What `broker check` says of quorum queues that drop what comes back too often."""

from collections.abc import Mapping

import pytest
import trio

from broker.amqp.admin.delivery_limit import QuorumArguments
from tests.cli.conftest import ManagedNode
from tests.cli.mailroom import Mailroom

QUORUM: dict[str, str | int] = {"x-queue-type": "quorum"}


@pytest.mark.parametrize(
    ("limit", "default", "has_exchange", "policy", "drops_after"),
    [
        (None, None, False, {}, None),  # RabbitMQ 3
        (None, 20, False, {}, 20),
        (None, 20, True, {}, None),
        (-1, 20, False, {}, None),
        (5, 20, False, {}, 5),
        (0, None, False, {}, 0),
        (None, 20, False, {"delivery-limit": -1}, None),
        (None, 20, False, {"delivery-limit": 7}, 7),
        (None, 20, False, {"delivery-limit": 7, "dead-letter-exchange": ""}, None),
        (None, 20, False, {"dead-letter-exchange": ""}, None),
        (5, None, False, {"delivery-limit": 7}, 5),
        (-1, 20, False, {"delivery-limit": 7}, 7),
        (5, 20, False, {"delivery-limit": -1}, 5),
    ],
)
def test_the_limit_of_a_queue(
    limit: int | None,
    default: int | None,
    has_exchange: bool,
    policy: Mapping[str, object],
    drops_after: int | None,
) -> None:
    arguments = QuorumArguments(limit, default, has_exchange)
    assert arguments.drops_after(policy) == drops_after


class Checked(Mailroom):
    async def limits(self, *options: str) -> dict[str, tuple[bool, str, str]]:
        ran = await self.run("check", "--format", "json", "--no-register", *options)
        return {
            item["name"].removeprefix("delivery limit "): (
                item["ok"],
                item["found"],
                item["advice"] or "",
            )
            for item in ran.document["checks"]
            if item["name"].startswith("delivery limit")
        }

    async def until_nothing_drops(self, url: tuple[str, str], count: int) -> None:
        """Wait until the check sees so many queues, none of which drops anything."""
        with trio.fail_after(60):
            # RabbitMQ applies policies in the background.
            while [is_ok for is_ok, _, _ in (await self.limits(*url)).values()] != [True] * count:
                await trio.sleep(0.1)


@pytest.fixture
def checked(managed: ManagedNode) -> Checked:
    return Checked(managed.node)


@pytest.mark.exhaustive
@pytest.mark.rabbitmq_version
async def test_a_queue_whose_limit_drops_fails_the_check(checked: Checked) -> None:
    await checked.raw.declare(checked.metadata, **QUORUM)
    limited = {**QUORUM, "x-delivery-limit": 7, "x-max-length": 1000}
    await checked.raw.declare(checked.input, **limited)
    limits = await checked.limits()
    is_ok, found, advice = limits[checked.input]
    assert not is_ok
    assert found == "RabbitMQ drops a message that is returned more than 7 times"
    assert "broker queues policy" in advice
    assert "--management-url" in advice
    is_ok, found, _ = limits[checked.metadata]
    assert is_ok == (await checked.node.ctl("version")).startswith("3.")
    assert is_ok or "more than 20 times" in found


async def test_what_dead_letters_or_has_no_limit_passes(checked: Checked) -> None:
    kept = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "elsewhere"}
    await checked.raw.declare(checked.input, **{**QUORUM, "x-delivery-limit": 7, **kept})
    limits = await checked.limits()
    assert limits == {checked.input: (True, limits[checked.input][1], "")}


@pytest.mark.exhaustive
async def test_a_policy_is_seen_through_the_management_api(
    checked: Checked, managed: ManagedNode
) -> None:
    await checked.raw.declare(checked.input, **{**QUORUM, "x-delivery-limit": 7})
    url = ("--management-url", managed.url)
    is_ok, _, advice = (await checked.limits(*url))[checked.input]
    assert not is_ok
    assert "--management-url" not in advice
    assert (await checked.run("queues", "policy", "--apply", *url)).code == 0
    await checked.until_nothing_drops(url, 1)
    _, found, _ = (await checked.limits("--management-url", "http://127.0.0.1:9"))[checked.input]
    assert found.startswith("no answer from http://127.0.0.1:9")


@pytest.mark.exhaustive
async def test_a_migration_leaves_queues_that_drop_nothing(
    checked: Checked, managed: ManagedNode
) -> None:
    url = ("--management-url", managed.url)
    migrate = ("queues", "migrate", "--type", "quorum")
    ran = await checked.run(*migrate, "--management-url", "http://127.0.0.1:9")
    assert ran.code == 1
    assert "no queue was changed" in ran.err
    assert await checked.limits(*url) == {}
    assert (await checked.run(*migrate, *url)).code == 0
    await checked.until_nothing_drops(url, 3)
    await checked.raw.declare(checked.input, **QUORUM)  # as peers may, without other arguments
