"""`broker queues policy`: what it prints, and what RabbitMQ makes of it."""

import json
import re
import shlex
import socket

import aiormq
import pytest
from anyio.from_thread import BlockingPortal

from tests.cli.conftest import ManagedNode
from tests.cli.listener import HOST, http, open_listener
from tests.cli.mailroom import Mailroom
from tests.lab.rabbitmq_node import RabbitmqNode

LIMIT = 2
CONVERT = "'broker queues migrate --type quorum' converts it"
CREATED = "a classic queue, which the broker creates"
NO_EFFECT = "delivery-limit and dead-letter-strategy have no effect"


@pytest.fixture
def mailroom(rabbitmq: RabbitmqNode) -> Mailroom:
    return Mailroom(rabbitmq)


async def test_the_commands_are_safe_for_a_shell(mailroom: Mailroom) -> None:
    settings = {
        "AMQP_URL": "amqp://nowhere.invalid/a%20vhost",
        "BROKER_INPUT_QUEUE": "in.0,it's (1)",
        "BROKER_METADATA_QUEUE": "metadata",
        "BROKER_ADVERTISEMENT_QUEUE": "advertisement",
        "BROKER_DEAD_LETTER_QUEUE": "dead 'ü",
    }
    ran = await mailroom.run("queues", "policy", "--delivery-limit", "7", **settings)
    assert ran.code == 0
    assert re.fullmatch(
        r"broker: the types of the queues are unknown \(connecting to amqp://guest@nowhere.*: "
        r"name \w+.*\); a delivery limit has an effect on quorum queues only\n",
        ran.err,
    )
    commands = [shlex.split(line) for line in ran.out.splitlines()]
    start = ["rabbitmqctl", "set_policy", "-p", "a vhost", "--apply-to", "queues"]
    assert all(one[:8] == [*start, "--priority", "10"] for one in commands)
    assert [one[8:10] for one in commands] == [
        ["in.0.delivery-limit", r"^in\.0$"],
        ["it's (1).delivery-limit", r"^it's\ \(1\)$"],
        ["metadata.delivery-limit", "^metadata$"],
        ["advertisement.delivery-limit", "^advertisement$"],
    ]
    for one in commands:
        assert json.loads(one[10]) == {
            "delivery-limit": 7,
            "dead-letter-exchange": "",
            "dead-letter-routing-key": "dead 'ü",
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
        }
    document = (await mailroom.run("queues", "policy", "--format", "json", **settings)).document
    assert [one["definition"]["delivery-limit"] for one in document["policies"]] == [20] * 4
    assert document["applied"] == []


@pytest.mark.rabbitmq_version
async def test_a_limit_without_effect_is_named(mailroom: Mailroom) -> None:
    await mailroom.raw.declare(mailroom.input, **{"x-queue-type": "quorum"})
    await mailroom.raw.declare(mailroom.metadata)
    advertisement = f"{mailroom.metadata}-advertisement"
    settings = {"BROKER_ADVERTISEMENT_QUEUE": advertisement}
    ran = await mailroom.run("queues", "policy", **settings)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"broker: {mailroom.metadata} is a classic queue, on which {NO_EFFECT}: {CONVERT}",
        f"broker: {advertisement} does not exist; on {CREATED}, {NO_EFFECT}",
    ]
    assert len(ran.out.splitlines()) == 3
    ran = await mailroom.run("queues", "policy", "--format", "json", **settings)
    assert (len(ran.document["notes"]), ran.err) == (2, "")


async def return_often(node: RabbitmqNode, queue: str) -> None:
    async with aiormq.connect(node.url) as connection:
        channel = await connection.channel()
        for _ in range(LIMIT + 1):
            await channel.basic_get(queue)
            await channel.basic_nack(0, multiple=True, requeue=True)


@pytest.mark.exhaustive
@pytest.mark.rabbitmq_version
async def test_what_is_returned_too_often_is_parked_and_can_be_replayed(
    mailroom: Mailroom, portal: BlockingPortal
) -> None:
    for queue in (mailroom.input, mailroom.dead_letter):
        await mailroom.raw.declare(queue, **{"x-queue-type": "quorum"})
    ran = await mailroom.run("queues", "policy", "--delivery-limit", str(LIMIT))
    for line in ran.out.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "rabbitmqctl"
        await mailroom.node.ctl(*arguments)
    await mailroom.raw.publish(mailroom.input, b"often")
    await portal.call_async(return_often, mailroom.node, mailroom.input)
    await mailroom.holds(mailroom.dead_letter, 1)

    [letter] = await mailroom.list()
    assert (letter["reason"], letter["queue"]) == ("delivery_limit", mailroom.input)
    assert letter["error"] == "RabbitMQ: returned more often than the queue's delivery limit allows"
    assert letter["problem"] is None
    assert letter["age_seconds"] < 3600
    chosen = await mailroom.list("--reason", "delivery_limit", "--queue", mailroom.input)
    assert len(chosen) == 1
    shown = await mailroom.run("dead-letters", "show")
    assert "1: delivery_limit: RabbitMQ: returned" in shown.out
    assert f"  queue    {mailroom.input}\n" in shown.out

    ran = await mailroom.run("dead-letters", "replay")
    assert (ran.code, ran.out, ran.err) == (0, "Replayed 1 message.\n", "")
    [message] = await mailroom.take(mailroom.input)
    assert message.body == b"often"
    assert message.header.properties.headers == {"x-broker-replays": "1"}


@pytest.mark.exhaustive
async def test_policies_are_applied_over_http(managed: ManagedNode) -> None:
    node, url = managed
    mailroom = Mailroom(node)
    mailroom.settings["BROKER_DEAD_LETTER_QUEUE"] = "ü"
    apply = ("queues", "policy", "--apply", "--management-url", url)
    for _ in range(2):  # what is there is replaced
        ran = await mailroom.run(*apply, "--delivery-limit", "5")
        assert ran.code == 0
        assert all(NO_EFFECT in line for line in ran.err.splitlines())
        assert ran.out.splitlines()[0] == f"{mailroom.input}.delivery-limit: applied"
    listed = await node.ctl("list_policies", "--formatter", "json")
    found = {one["name"]: one for one in json.loads(listed)}
    one = found[f"{mailroom.input}.delivery-limit"]
    wanted = (await mailroom.run("queues", "policy", "--format", "json")).document
    [expected] = [each for each in wanted["policies"] if each["name"] == one["name"]]
    assert json.loads(one["definition"]) == {**expected["definition"], "delivery-limit": 5}
    assert one["pattern"] == expected["pattern"]
    assert (one["apply-to"], one["priority"]) == ("queues", 10)

    for user, tags in (("tagless", ()), ("onlooker", ("monitoring",))):
        await node.ctl("add_user", user, "secret")
        await node.ctl("set_user_tags", user, *tags)
        await node.ctl("set_permissions", user, ".*", ".*", ".*")
    await node.ctl("add_user", "outsider", "secret")
    await node.ctl("set_user_tags", "outsider", "policymaker")
    needs = "it needs the tag policymaker (rabbitmqctl set_user_tags) and"
    for login, vhost, problem in (
        ("nobody:secret", "", "refused the login of 'nobody': check user and password"),
        ("tagless:wrong", "", "refused the login of 'tagless': check user and password"),
        ("tagless:secret", "", f"may not set policies (Not management user): {needs}"),
        ("onlooker:secret", "", f"access object): {needs}"),
        ("outsider:secret", "", "access to virtual host '/' (rabbitmqctl set_permissions)"),
        ("guest:guest", "nowhere", "there is no virtual host 'nowhere'"),
    ):
        amqp = node.url.replace("guest:guest", login) + vhost
        line = await mailroom.failure(*apply, AMQP_URL=amqp)
        assert problem in line
        assert "secret" not in line


async def test_no_management_api_there(mailroom: Mailroom) -> None:
    apply = ("queues", "policy", "--apply", "--management-url")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # Nobody accepts, so nobody answers.
        assert "no answer within 5 s" in await mailroom.failure(*apply, closed)
    line = await mailroom.failure(*apply, closed)
    assert "connection refused" in line
    assert "rabbitmq-plugins enable rabbitmq_management" in line
    async with open_listener(lambda: http(b"<html>"), hangs_up=True) as port:
        url = f"http://{HOST}:{port}"
        line = await mailroom.failure(*apply, url)
    assert f"what answers at {url} (status 200) is not a RabbitMQ management API" in line


async def test_a_refusal_that_neither_tag_nor_permission_helps(mailroom: Mailroom) -> None:
    # As a node on another machine answers to `guest`.
    answer = {"error": "not_authorised", "reason": "User can only log in via localhost"}
    async with open_listener(lambda: http(answer, "401 No"), hangs_up=True) as port:
        url = f"http://{HOST}:{port}"
        line = await mailroom.failure("queues", "policy", "--apply", "--management-url", url)
    assert "refused 'guest' (User can only log in via localhost): use another user" in line
    assert "tag" not in line
