"""`broker check` against real peers: each sentence that people see, and that nothing is left."""

import errno
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import trio
import trustme
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelClosed
from anyio.from_thread import BlockingPortal

import broker.amqp.connection
import broker.central.websocket
from broker.amqp import Rabbit
from broker.amqp.admin import probe as probing
from broker.amqp.connection import Connection
from broker.central import ServerAddress, SessionTerms
from broker.cli import fetch as fetching
from broker.cli.check import run_checks
from broker.cli.checks import reach as reaching
from broker.cli.checks.http_port import check_http_port
from broker.cli.checks.item import Item
from broker.cli.checks.rabbitmq import Wanted, check_rabbitmq
from broker.cli.checks.server import check_server
from broker.net.endpoints import AmqpEndpoint, parse_amqp_urls
from broker.net.tls import TlsFiles
from broker.sandbox.broker_process import COMMAND
from broker.settings import load_settings
from tests.cli.commands import PATIENCE, Ran, run_command
from tests.cli.listener import HOST, http, open_listener
from tests.lab.amqp_client import AmqpClient
from tests.lab.central_server import Answer, CentralServer, open_central_server
from tests.lab.certificates import refused_certificate
from tests.lab.limits import alarmed
from tests.lab.proxy import open_proxy
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.lab.tls_listener import open_tls_listener
from tests.sandbox.programs import free_port

HIDDEN = "Tr0ub4dor"
NAME = "B (check)"


@pytest.fixture
def endpoint(rabbitmq: RabbitmqNode) -> AmqpEndpoint:
    (endpoint,) = parse_amqp_urls(rabbitmq.url)
    return endpoint


@pytest.fixture
def raw(rabbitmq: RabbitmqNode) -> AmqpClient:
    return AmqpClient(rabbitmq.url)


class Checking:
    """The check of a node for queues that no other test uses, which differs as a test wants."""

    def __init__(self, rabbit: Rabbit, endpoint: AmqpEndpoint) -> None:
        number = uuid4().hex[:8]
        self.wanted = Wanted(
            name=NAME,
            consumed=(f"input.{number}", f"metadata-{number}"),
            published=(f"output-{number}",),
            exchange=f"events.{number}",
            has_url=False,
        )
        self.endpoint = endpoint
        self._rabbit = rabbit

    async def items(self, tls: TlsFiles | None = None, **differences: Any) -> list[Item]:
        endpoint = replace(self.endpoint, tls=tls is not None, **differences)
        wanted = self.wanted if tls is None else replace(self.wanted, tls=tls)
        return await check_rabbitmq(self._rabbit, endpoint, wanted)

    async def item(self, name: str) -> Item:
        return next(item for item in await self.items() if item.name == name)

    async def broken(self, tls: TlsFiles | None = None, **differences: Any) -> Item:
        return broken(await self.items(tls, **differences))


@pytest.fixture
def checking(portal: BlockingPortal, endpoint: AmqpEndpoint) -> Checking:
    return Checking(Rabbit(portal), endpoint)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path) -> TlsFiles:
    """A client that trusts the authority."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return TlsFiles(tmp_path / "ca.pem")


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def broken(items: Sequence[Item]) -> Item:
    """Return the one item that failed, which is the last."""
    assert all(item.ok for item in items[:-1])
    assert not items[-1].ok
    assert items[-1].advice
    return items[-1]


class NoNames(trio.abc.HostnameResolver):
    """A name service that knows no name, and says so at once."""

    async def getaddrinfo(self, *_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> NoReturn:
        raise NotImplementedError


class TestRabbitmq:
    async def test_all_holds(self, checking: Checking, raw: AmqpClient) -> None:
        wanted, port = checking.wanted, checking.endpoint.port
        await raw.declare(wanted.consumed[0])
        await raw.publish(wanted.consumed[0], b"1", b"2")
        items = await checking.items()
        assert [(item.name, item.found, item.ok) for item in items] == [
            ("connection", f"{HOST}:{port} answers", True),
            ("login", "user 'guest' may log in", True),
            ("virtual host", "'/' is accessible to that user", True),
            (f"queue {wanted.consumed[0]}", "exists, 2 messages, no consumers, durable", True),
            (f"queue {wanted.consumed[1]}", "missing; the broker will create it", True),
            (f"queue {wanted.published[0]}", "missing; the broker will create it", True),
            (f"exchange {wanted.exchange}", "missing; the broker will create it", True),
            ("permissions", "user 'guest' has all permissions the broker needs", True),
            ("alarms", "none, publishing is allowed", True),
        ]
        assert {item.subject for item in items} == {f"RabbitMQ {HOST}:{port}"}
        messages = await raw.take(wanted.consumed[0], 2)
        assert [(one.body, one.redelivered) for one in messages] == [(b"1", False), (b"2", False)]

    @pytest.mark.parametrize(
        ("bodies", "found"),
        [((), "exists, no messages, no"), ((b"1",), "exists, 1 message, no")],
    )
    async def test_an_output_with_messages_that_nobody_reads(
        self, checking: Checking, raw: AmqpClient, *, bodies: tuple[bytes, ...], found: str
    ) -> None:
        output = checking.wanted.published[0]
        checking.wanted = replace(checking.wanted, outputs=(output,))
        await raw.declare(output)
        await raw.publish(output, *bodies)
        item = await checking.item(f"queue {output}")
        assert item.ok, "it is no reason not to start"
        assert item.found.startswith(found)
        assert (item.advice is not None) == bool(bodies)

    async def test_a_stream(self, checking: Checking, raw: AmqpClient) -> None:
        stream, other = checking.wanted.consumed
        await raw.declare(stream, **{"x-queue-type": "stream"})
        await raw.declare(other, **{"x-queue-type": "quorum"})
        item = await checking.item(f"queue {stream}")
        assert not item.ok
        assert item.found.startswith("it is a stream; ")
        assert (await checking.item(f"queue {other}")).ok

    async def test_a_queue_that_rabbitmq_does_not_show(
        self, checking: Checking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As RabbitMQ 4.2.6 has it without the right to configure the queue."""
        ask = probing._refusal  # noqa: SLF001 - the one place where requests are refused

        async def refuse_to_look(
            connection: Connection, request: Callable[[AbstractChannel], Awaitable[None]]
        ) -> ChannelClosed | None:
            if request.__name__ == "look":
                return ChannelAccessRefused("ACCESS_REFUSED - configure access refused")
            return await ask(connection, request)

        monkeypatch.setattr(probing, "_refusal", refuse_to_look)
        queue = checking.wanted.consumed[0]
        item = await checking.item(f"queue {queue}")
        assert not item.ok
        assert item.found == (
            "RabbitMQ does not show it to 'guest'; the broker assumes that it exists"
        )
        assert item.advice == f"grant configure on {queue}, or make sure that it exists"

    async def test_an_unknown_name(self, checking: Checking) -> None:
        trio.socket.set_custom_hostname_resolver(NoNames())
        item = await checking.broken(host="no-such-host.invalid")
        assert item.name == "connection"
        assert item.found == ("the name no-such-host.invalid cannot be resolved (name not found)")
        assert item.advice == "correct RABBITMQ_HOST and RABBITMQ_PORT, or the name service"

    async def test_nobody_listens(self, checking: Checking) -> None:
        port = free_port()
        item = await checking.broken(port=port)
        assert item.found == f"{HOST}:{port} cannot be reached (connection refused)"
        assert item.advice == "start it there, or correct RABBITMQ_HOST and RABBITMQ_PORT"
        checking.wanted = replace(checking.wanted, has_url=True)
        assert (await checking.broken(port=port)).advice == "start it there, or correct AMQP_URL"

    async def test_no_answer(self, checking: Checking, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reaching, "REACH_TIMEOUT", 0.1)

        async def wait(*_: object) -> None:
            await trio.sleep_forever()

        monkeypatch.setattr(trio, "open_tcp_stream", wait)
        item = await checking.broken()
        assert item.found == f"no answer from {HOST}:{checking.endpoint.port} within 0.1 s"
        assert "firewalls" in (item.advice or "")

    async def test_a_refused_certificate(
        self, checking: Checking, authority: trustme.CA, trusting: TlsFiles
    ) -> None:
        context = server_context(refused_certificate("another authority", authority))
        async with open_proxy(checking.endpoint.port, context) as proxy:
            item = await checking.broken(trusting, port=proxy.port)
        assert item.name == "TLS"
        assert item.found.startswith("certificate verify failed: unable to get local issuer")
        assert (item.advice or "").startswith("AMQP_CA_FILE must name")

    async def test_a_good_certificate(
        self, checking: Checking, authority: trustme.CA, trusting: TlsFiles
    ) -> None:
        context = server_context(authority.issue_cert(HOST))
        async with open_proxy(checking.endpoint.port, context) as proxy:
            items = await checking.items(trusting, port=proxy.port)
        assert all(item.ok for item in items)
        assert items[1].found == f"the certificate is valid for {HOST}"

    async def test_a_certificate_is_wanted_of_the_broker(
        self, checking: Checking, authority: trustme.CA, trusting: TlsFiles
    ) -> None:
        context = server_context(authority.issue_cert(HOST))
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
        with open_tls_listener(context) as port:
            item = (await checking.items(trusting, port=port))[-1]
        assert item.name == "TLS"
        assert item.found.startswith("the peer wants a client certificate (")
        assert "certificate required" in item.found
        assert item.advice == "AMQP_CERT_FILE must name one"

    async def test_no_answer_to_tls(
        self, checking: Checking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reaching, "REACH_TIMEOUT", 0.2)
        async with open_listener() as port:
            item = await checking.broken(TlsFiles(), port=port)
        assert (item.name, item.found) == ("TLS", "no answer to TLS in time")

    async def test_tls_on_a_port_in_the_clear(self, checking: Checking) -> None:
        item = await checking.broken(TlsFiles())
        assert item.name == "TLS"
        assert item.found == f"{HOST}:{checking.endpoint.port} does not use TLS"
        assert item.advice == "AMQP_URL must name the port with TLS, or begin with amqp://"

    async def test_in_the_clear_on_a_tls_port(
        self, checking: Checking, authority: trustme.CA
    ) -> None:
        context = server_context(authority.issue_cert(HOST))
        async with open_proxy(checking.endpoint.port, context) as proxy:
            item = await checking.broken(port=proxy.port)
        assert item.name == "TLS"
        assert "speaks TLS, and the connection is not configured for it" in item.found
        assert item.advice == "AMQP_URL must begin with amqps://"

    async def test_something_else_listens(self, checking: Checking) -> None:
        async with open_listener(lambda: http(b"", "400 Bad Request")) as port:
            item = await checking.broken(port=port)
        assert item.name == "AMQP"
        assert item.found.startswith("it does not speak AMQP (")
        start = "RABBITMQ_HOST and RABBITMQ_PORT must lead to RabbitMQ's"
        assert (item.advice or "").startswith(start)

    async def test_a_wrong_login(self, checking: Checking, user: str) -> None:
        item = await checking.broken(user=user, password=HIDDEN)
        assert item.found == f"RabbitMQ refuses user {user!r} with this password"
        assert item.advice == "correct RABBITMQ_USER and RABBITMQ_PASSWORD"
        guest = await checking.broken(password=HIDDEN)
        assert (guest.advice or "").endswith("RabbitMQ accepts guest only from its own machine")

    async def test_no_virtual_host(self, checking: Checking) -> None:
        items = await checking.items(vhost="none; x")
        item = broken(items)
        assert items[1].found == "user 'guest' may log in"
        assert (item.name, item.found) == ("virtual host", "there is no virtual host 'none; x'")
        assert item.advice == "correct RABBITMQ_VHOST, or: rabbitmqctl add_vhost 'none; x'"

    async def test_what_is_advised_grants_what_is_lacking(
        self, checking: Checking, user: str, rabbitmq: RabbitmqNode
    ) -> None:
        wanted = checking.wanted
        await rabbitmq.ctl("clear_permissions", user)
        item = await checking.broken(user=user, password=user)
        assert item.found == f"user {user!r} has no access to virtual host '/'"
        await rabbitmq.ctl("set_permissions", user, "^$", "^$", "^$")
        items = await checking.items(user=user, password=user)
        failed = [item for item in items if not item.ok]
        assert [item.name for item in failed] == [
            *(f"queue {queue}" for queue in (*wanted.consumed, *wanted.published)),
            f"exchange {wanted.exchange}",
            "permissions",
        ]
        lacking = failed[-1]
        first, second = wanted.consumed
        assert lacking.found == (
            f"user {user!r} may not consume {first} and {second} (read), nor "
            "publish to queues (write on amq.default), nor "
            f"publish to {wanted.exchange} (write), nor "
            f"listen to {wanted.exchange} "
            f"(read; configure, write and read on queues named {wanted.exchange}.*), nor "
            f"create {first} and {second} and {wanted.published[0]} and {wanted.exchange} "
            "(configure)"
        )
        _, _, command = (lacking.advice or "").partition(": ")
        program, *arguments = shlex.split(command)
        assert program == "rabbitmqctl"
        await rabbitmq.ctl(*arguments)
        assert all(item.ok for item in await checking.items(user=user, password=user))
        # And no more than that.
        listed = (await rabbitmq.ctl("list_user_permissions", user)).splitlines()[-1].split("\t")
        always = rf"{re.escape(wanted.exchange)}(\..*)?"
        assert listed[1:] == [
            f"^({'|'.join(map(re.escape, (first, second, *wanted.published)))}|{always})$",
            rf"^(amq\.default|{always})$",
            f"^({re.escape(first)}|{re.escape(second)}|{always})$",
        ]

    async def test_existing_queues_need_no_right_to_create_them(
        self, checking: Checking, user: str, raw: AmqpClient, rabbitmq: RabbitmqNode
    ) -> None:
        wanted = checking.wanted
        for queue in (*wanted.consumed, *wanted.published):
            await raw.declare(queue)
        await raw.declare_fanout(wanted.exchange)
        listening = rf"^{re.escape(wanted.exchange)}\..*$"
        await rabbitmq.ctl("set_permissions", user, listening, ".*", ".*")
        items = await checking.items(user=user, password=user)
        assert all(item.ok for item in items)
        assert items[3].found == (
            "exists, no messages, no consumers "
            "(more is visible only with permission to configure it)"
        )

    async def test_an_alarm(self, checking: Checking, rabbitmq: RabbitmqNode) -> None:
        async with alarmed(rabbitmq):
            item = await checking.broken()
        assert item.found == "an alarm is on: RabbitMQ blocks publishing"
        assert "rabbitmq-diagnostics alarms" in (item.advice or "")


async def check(
    url: str, *, register: bool = True, register_timeout: float = 10.0, **address: Any
) -> list[Item]:
    terms = SessionTerms(NAME, silence=45.0, register_timeout=register_timeout)
    with trio.fail_after(PATIENCE):
        return await check_server(ServerAddress(url, **address), terms, register=register)


async def check_answer(answer: bytes) -> Item:
    """Check a server that answers whatever is said with the same bytes."""
    async with open_listener(lambda: answer) as port:
        return broken(await check(f"ws://{HOST}:{port}/ws"))


@asynccontextmanager
async def open_tls_server(
    certificate: trustme.LeafCert,
) -> AsyncIterator[tuple[str, CentralServer]]:
    """A server behind TLS, and where that is."""
    async with open_central_server() as server:
        port = urlsplit(server.url).port or 0
        async with open_proxy(port, server_context(certificate)) as proxy:
            yield f"{HOST}:{proxy.port}/ws", server


def silent(_: CentralServer, __: object) -> list[dict[str, object]]:
    return []


def refusing(_: CentralServer, __: object) -> list[dict[str, object]]:
    return [{"message_type": "ERROR", "text_payload": "no brokers\x1b[2J today"}]


HTTP_ADVICE = {
    "403 Forbidden": "set BROKER_WEBSOCKET_TOKEN, or set WEBSOCKET_ORIGIN, or correct the path in "
    "WEBSOCKET_URL; the server's log may say which",
    "404 Not Found": "correct the path in WEBSOCKET_URL",
    "400 Bad Request": "correct the path in WEBSOCKET_URL, or set WEBSOCKET_SUBPROTOCOL; a proxy "
    "before the server must pass on the headers Upgrade and Connection",
    "200 OK": "it is a plain web server; correct the path in WEBSOCKET_URL",
    "301 Moved": "WEBSOCKET_URL must be the address that it redirects to",
    "503 Away": "the server, or one behind its proxy, is not ready or overloaded: see their logs; "
    "the broker retries",
    "500 Oops": "see the log of the server, and of any proxy before it",
}


class TestServer:
    async def test_all_holds_and_a_running_broker_keeps_its_session(self) -> None:
        async with open_central_server(token=HIDDEN) as server:
            items = await check(server.url, token=HIDDEN)
            names = [
                message["broker_name"]
                for message in server.received
                if message["message_type"] == "REGISTER_BROKER"
            ]
        url = urlsplit(server.url)
        assert [(item.name, item.found, item.ok) for item in items] == [
            ("connection", f"{HOST}:{url.port} answers", True),
            ("WebSocket", "/ws is open", True),
            ("registration", f"accepted as {NAME!r}", True),
        ]
        # The name of no broker that runs.
        assert names == [NAME]

    async def test_without_registering(self) -> None:
        async with open_central_server() as server:
            items = await check(server.url, register=False)
            assert [item.name for item in items] == ["connection", "WebSocket"]
            assert not server.received

    async def test_nobody_listens(self) -> None:
        item = broken(await check(f"ws://{HOST}:{free_port()}/ws"))
        assert "cannot be reached (connection refused)" in item.found
        assert item.advice == "start it there, or correct WEBSOCKET_URL"

    @pytest.mark.parametrize(
        ("token", "advice"),
        [
            (None, "the server requires a token: set BROKER_WEBSOCKET_TOKEN"),
            ("wrong", "correct BROKER_WEBSOCKET_TOKEN"),
        ],
    )
    async def test_token(self, token: str | None, advice: str) -> None:
        async with open_central_server(token=HIDDEN) as server:
            item = broken(await check(server.url, token=token))
        assert item.found == "the server refused the WebSocket with HTTP status 401"
        assert item.advice == advice

    @pytest.mark.parametrize(("status", "advice"), HTTP_ADVICE.items())
    async def test_http_status(self, status: str, advice: str) -> None:
        item = await check_answer(http(b"", status))
        assert f"HTTP status {status[:3]}" in item.found
        assert item.advice == advice

    async def test_a_refusal_in_the_servers_words(self) -> None:
        body = b"Cross origin websockets not allowed\nsee the manual\n"
        item = await check_answer(http(body, "403 Forbidden"))
        assert item.found == (
            "the server refused the WebSocket with HTTP status 403: "
            "Cross origin websockets not allowed"
        )
        assert item.advice == "set WEBSOCKET_ORIGIN: it must be one that the server allows"

    async def test_a_redirection(self) -> None:
        there = "308 Moved\r\nLocation: https://chat.example/ws"
        item = await check_answer(http(b"", there))
        assert item.found.endswith("308, and redirects to https://chat.example/ws")
        assert item.advice == "WEBSOCKET_URL must be wss://chat.example/ws"

    async def test_something_else_listens(self) -> None:
        item = await check_answer(b"AMQP\x00\x00\x09\x01\r\n\r\n")
        assert item.name == "WebSocket"
        assert item.advice == "WEBSOCKET_URL must lead to the central server"

    @pytest.mark.parametrize(
        ("what", "found", "advice"),
        [
            ("another authority", "unable to get local issuer", "WEBSOCKET_CA_FILE must name"),
            ("expired", "certificate has expired", "renew it, or set this machine's clock"),
            ("another host", "IP address mismatch", "connect by a name that the certificate"),
        ],
    )
    async def test_a_refused_certificate(
        self, *, authority: trustme.CA, trusting: TlsFiles, what: str, found: str, advice: str
    ) -> None:
        certificate = refused_certificate(what, authority)
        async with open_tls_server(certificate) as (address, server):
            item = broken(await check(f"wss://{address}", tls=trusting))
            assert not server.received
        assert item.name == "TLS"
        assert found in item.found
        assert (item.advice or "").startswith(advice)

    async def test_a_good_certificate(self, authority: trustme.CA, trusting: TlsFiles) -> None:
        async with open_tls_server(authority.issue_cert(HOST)) as (address, _):
            items = await check(f"wss://{address}", tls=trusting)
        assert all(item.ok for item in items)
        assert [item.name for item in items] == ["connection", "TLS", "WebSocket", "registration"]

    async def test_tls_on_a_port_in_the_clear(self) -> None:
        async with open_central_server() as server:
            url = server.url.replace("ws:", "wss:")
            item = broken(await check(url, tls=TlsFiles()))
        assert item.found.endswith("does not use TLS")
        assert item.advice == "WEBSOCKET_URL must name the port with TLS, or begin with ws://"

    async def test_in_the_clear_on_a_tls_port(self, authority: trustme.CA) -> None:
        async with open_tls_server(authority.issue_cert(HOST)) as (address, _):
            item = broken(await check(f"ws://{address}"))
        assert "speaks TLS" in item.found
        assert item.advice == "WEBSOCKET_URL must begin with wss://"

    @pytest.mark.parametrize(
        ("answer", "found"),
        [
            (refusing, "the server refused the broker: no brokers\x1b[2J today"),
            (silent, "no answer to the registration in 0.2 s"),
        ],
    )
    async def test_a_refused_registration(self, answer: Answer, found: str) -> None:
        timeout = 0.2 if answer is silent else PATIENCE
        async with open_central_server(answer=answer) as server:
            item = broken(await check(server.url, register_timeout=timeout))
        assert (item.name, item.found) == ("registration", found)
        assert item.advice == "see the server's log"


class TestHttpPort:
    async def test_none_wanted(self) -> None:
        item = await check_http_port(HOST, None)
        assert (item.ok, item.found) == (True, "none wanted")

    async def test_free(self) -> None:
        port = free_port()
        item = await check_http_port(HOST, port)
        assert (item.ok, item.found) == (True, "free")
        # It was left free.
        assert (await check_http_port(HOST, port)).found == "free"
        assert (await check_http_port(HOST, 0)).found == "any free one"

    @pytest.mark.parametrize("host", [HOST, "0.0.0.0", "::"])  # noqa: S104 - what people configure
    async def test_a_ready_broker(self, host: str) -> None:
        body = b"[+]rabbitmq ok\nreadyz check passed\n"
        async with open_listener(lambda: http(body)) as port:
            item = await check_http_port(host, port)
        assert item.ok
        assert item.found == "used by a running broker that is ready"

    async def test_a_broker_that_is_not_ready(self) -> None:
        body = b"[+]rabbitmq ok\n[-]server not registered\n[-]registry none yet\n"
        async with open_listener(lambda: http(body, "503 Away")) as port:
            item = await check_http_port(HOST, port)
        assert item.found == (
            "used by a running broker that is not ready (server not registered; registry none yet)"
        )
        assert item.advice == "broker status shows more"

    @pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", http(b"hi"), b""])
    async def test_something_else(self, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetching, "FETCH_TIMEOUT", 1.0)
        async with open_listener(lambda: answer) as port:
            item = await check_http_port(HOST, port)
        assert item.found == "used by another program"
        assert item.advice == "stop it, or choose another BROKER_HTTP_PORT"

    async def test_an_address_of_another_machine(self) -> None:
        item = await check_http_port("192.0.2.1", 9780)
        assert item.found == "not an address of this machine"
        assert item.advice == "correct BROKER_HTTP_HOST"

    async def test_an_unknown_name(self) -> None:
        trio.socket.set_custom_hostname_resolver(NoNames())
        item = await check_http_port("no-such-host.invalid", 9780)
        assert "cannot be resolved" in item.found
        assert item.advice == "correct BROKER_HTTP_HOST"

    async def test_a_port_for_the_superuser(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(trio, "open_tcp_listeners", refuse)
        item = await check_http_port(HOST, 80)
        assert item.found == "no permission for this port"
        assert item.advice == "choose a BROKER_HTTP_PORT above 1023"


class TestAll:
    async def test_every_node_the_server_and_the_port(self, endpoint: AmqpEndpoint) -> None:
        async with open_central_server() as server:
            settings = load_settings(
                {
                    "amqp_url": f"amqp://{HOST}:{endpoint.port},amqp://{HOST}:{free_port()}",
                    "websocket_url": server.url,
                    "broker_http_port": "off",
                    "broker_input_queue": "broker_input_queue,second",
                    "broker_output_queue": "broker_output_queue,third",
                }
            )
            items = await run_checks(settings, register=True)
        assert {"queue second", "queue third"} <= {item.name for item in items}
        subjects = list(dict.fromkeys(item.subject.split()[0] for item in items))
        assert subjects == ["RabbitMQ", "server", "HTTP", "routing"]
        [failure] = [item for item in items if not item.ok]
        assert "cannot be reached" in failure.found
        assert failure.advice == "start it there, or correct AMQP_URL"
        assert {item.found for item in items if item.name == "registration"} == {
            "accepted as 'BrokerService (check)'"
        }

    @pytest.mark.exhaustive
    async def test_peers_that_say_nothing_do_not_hold_it_up(self) -> None:
        async with open_listener() as port:
            settings = load_settings(
                {
                    "amqp_url": f"amqp://{HOST}:{port}",
                    "websocket_url": f"ws://{HOST}:{port}",
                    "broker_http_port": str(port),
                }
            )
            with trio.fail_after(PATIENCE):
                items = await run_checks(settings, register=True)
        failed = [item for item in items if not item.ok]
        assert [item.name for item in failed] == ["AMQP", "WebSocket", "port"]
        assert failed[0].found == "it does not speak AMQP (no answer in time)"
        advice = "check whether RabbitMQ hangs; AMQP_URL must lead"
        assert (failed[0].advice or "").startswith(advice)

    def test_half_a_minute_at_most(self) -> None:
        # Each peer has these one after the other; they are checked at the same time.
        reach, tls_trial, farewell = reaching.REACH_TIMEOUT, 3, 2
        rabbitmq = reach + probing.PROBE_TIMEOUT + tls_trial + farewell
        opening = broker.central.websocket.CONNECT_TIMEOUT
        server = reach + opening + SessionTerms(NAME, silence=45.0).register_timeout + farewell
        assert max(rabbitmq, server) <= 30


async def run(*arguments: str, **variables: str) -> Ran:
    environment = os.environ | {"BROKER_HTTP_PORT": "off", **variables}
    return await run_command("check", *arguments, environment=environment, directory=Path.cwd())


class TestCommand:
    async def test_all_holds(self, endpoint: AmqpEndpoint) -> None:
        async with open_central_server() as server:
            variables = {
                "AMQP_URL": f"amqp://guest:guest@{HOST}:{endpoint.port}/",
                "WEBSOCKET_URL": server.url,
                "BROKER_PREFETHC": "7",
            }
            ran = await run(**variables)
            as_json = await run("--format", "json", **variables)
        lines = ran.out.splitlines()
        assert all(line.startswith("[ok] ") for line in lines)
        assert f"[ok] RabbitMQ {HOST}:{endpoint.port}, login: user 'guest' may log in" in lines
        assert lines[-1] == "[ok] routing, policy: random"
        assert (ran.code, ran.err) == (
            0,
            "broker: BROKER_PREFETHC (environment) is unknown: did you mean BROKER_PREFETCH?\n",
        )
        assert (as_json.code, as_json.document["ok"]) == (0, True)
        assert len(as_json.document["checks"]) == len(lines)
        assert "did you mean BROKER_PREFETCH" in as_json.document["unknown_variables"][0]

    def test_interrupted(self) -> None:
        with socket.create_server((HOST, 0)) as listener:  # which says nothing
            listener.settimeout(PATIENCE)
            process = subprocess.Popen(
                [*COMMAND, "check"],
                env=os.environ
                | {
                    "AMQP_URL": f"amqp://{HOST}:{listener.getsockname()[1]}",
                    "WEBSOCKET_URL": f"ws://{HOST}:{free_port()}",
                    "BROKER_HTTP_PORT": "off",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            # The second one is that of the probe, which waits.
            connections = [listener.accept()[0] for _ in range(2)]
            process.send_signal(signal.SIGINT)
            shown, errors = process.communicate(timeout=PATIENCE)
            for connection in connections:
                connection.close()
        assert (process.returncode, shown, errors) == (130, b"", b"")

    async def test_the_handshake_carries_what_is_set(self) -> None:
        requests: list[bytes] = []

        async def listen(stream: trio.SocketStream) -> None:
            async with stream:
                requests.append(await stream.receive_some())

        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, listen, 0, host=HOST))
            await run(
                *("--websocket-subprotocol", "v2, v1"),
                AMQP_URL=f"amqp://{HOST}:{free_port()}",
                WEBSOCKET_URL=f"ws://{HOST}:{listener.socket.getsockname()[1]}",
                WEBSOCKET_ORIGIN="https://chat.example",
            )
            nursery.cancel_scope.cancel()
        request = next(filter(None, requests))
        lines = request.decode().split("\r\n")
        assert f"User-Agent: agent-broker/{broker.__version__}" in lines
        assert "Origin: https://chat.example" in lines
        assert "Sec-WebSocket-Protocol: v2, v1" in lines

    async def test_something_failed(self) -> None:
        port = free_port()
        variables = {
            "AMQP_URL": f"amqp://me:{HIDDEN}@{HOST}:{port}/",
            "WEBSOCKET_URL": f"ws://{HOST}:{port}/?token={HIDDEN}",
        }
        ran = await run(**variables)
        assert (ran.code, ran.err) == (1, "")
        assert ran.out.splitlines()[0] == (
            f"[failed] RabbitMQ {HOST}:{port}, connection: {HOST}:{port} cannot be reached "
            "(connection refused) \N{EN DASH} start it there, or correct AMQP_URL"
        )
        assert HIDDEN not in ran.out
        report = await run("--format=json", **variables)
        assert (report.code, report.document["ok"]) == (1, False)

    async def test_wrong_configuration(self) -> None:
        ran = await run(BROKER_PREFETCH="0", BROKER_PREFETHC="7")
        assert (ran.code, ran.out) == (2, "")
        first, second = ran.err.splitlines()
        assert first.startswith("broker: BROKER_PREFETCH must ")
        assert "BROKER_PREFETHC" in second
