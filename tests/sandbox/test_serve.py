"""The stand-in central server as a process."""

import socket
from pathlib import Path

import pytest

from broker.sandbox import standalone
from broker.sandbox.serve import main
from tests.sandbox.programs import free_port, open_programs

SERVE = "broker.sandbox.serve"
TOKEN = "BROKER_WEBSOCKET_TOKEN"
NOWHERE = {"AMQP_URL": "amqp://127.0.0.1:1", "WEBSOCKET_URL": "ws://127.0.0.1:1/ws"}


async def test_brokers_register_while_rabbitmq_is_away(tmp_path: Path) -> None:
    port = free_port()
    settings = {**NOWHERE, TOKEN: "letters"}
    async with open_programs(tmp_path, settings) as programs:
        server = await programs.start(SERVE, "--port", str(port))
        await server.logged("amqp_lost")
        url = f"ws://127.0.0.1:{port}/ws"
        broker = await programs.start("broker", WEBSOCKET_URL=url)
        await broker.logged("registered", broker_id="broker-1")
        assert await server.stop() == 0
        assert await broker.stop() == 0


async def test_a_broker_with_another_token_is_refused(tmp_path: Path) -> None:
    port = free_port()
    async with open_programs(tmp_path, NOWHERE) as programs:
        server = await programs.start(SERVE, "--port", str(port), **{TOKEN: "one"})
        await server.logged("server_listening", port=port)
        url = f"ws://127.0.0.1:{port}/ws"
        broker = await programs.start("broker", **{TOKEN: "other", "WEBSOCKET_URL": url})
        lost = await broker.logged("server_lost")
        assert "401" in lost["error"]


def test_an_address_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(standalone, "configure_logging", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"broker: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )


@pytest.mark.parametrize("port", ["0", "65536", "none"])
def test_a_wrong_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--port", port])
    assert stopped.value.code == 2
    assert "argument --port: " in capsys.readouterr().err
