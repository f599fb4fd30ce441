"""The stand-in central server as a process."""

import socket
from pathlib import Path

import pytest

from broker.central.address import ServerAddress
from broker.central.websocket import WebSocketError, open_websocket
from broker.cli.application import execute
from broker.sandbox import standalone
from tests.sandbox.programs import free_port, open_programs

NOWHERE = {"AMQP_URL": "amqp://127.0.0.1:1", "WEBSOCKET_URL": "ws://127.0.0.1:1/ws"}


async def test_brokers_with_the_token_register_while_rabbitmq_is_away(tmp_path: Path) -> None:
    port = free_port()
    url = f"ws://127.0.0.1:{port}/ws"
    async with open_programs(tmp_path, {**NOWHERE, "BROKER_WEBSOCKET_TOKEN": "letters"}) as some:
        server = await some.start("sandbox", "serve", "--port", str(port))
        await server.logged("server_listening", port=port)
        await server.logged("amqp_lost")
        for token in (None, "other"):
            with pytest.raises(WebSocketError, match="401"):
                await open_websocket(ServerAddress(url, token)).__aenter__()
        async with open_websocket(ServerAddress(url, "letters")) as websocket:
            await websocket.send_message(b'{"message_type": "REGISTER_BROKER"}')
            assert '"broker-1"' in await websocket.get_message()
        assert await server.stop() == 0


def test_an_address_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(standalone, "configure_logging", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert execute(["sandbox", "serve", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"broker: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )


@pytest.mark.parametrize("port", ["0", "65536", "none"])
def test_a_wrong_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["sandbox", "serve", "--port", port]) == 2
    assert "--port must be " in capsys.readouterr().err
