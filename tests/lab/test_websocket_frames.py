"""The frames made by hand are what they are meant to be."""

import pytest
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, TextMessage

from tests.lab.websocket_frames import PING, TEXT, closing, frame, text

_PROTOCOL_ERROR = 1002


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_sound_frame(size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(frame(TEXT, b"x" * size))
    received = [event.data for event in client.events() if isinstance(event, TextMessage)]
    assert "".join(received) == "x" * size


def test_a_closing_frame() -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(closing(4000, b"bye"))
    assert list(client.events()) == [CloseConnection(4000, "bye")]


@pytest.mark.parametrize(
    "broken",
    [
        frame(TEXT, b"{}", is_masked=True),
        frame(TEXT, b"{}", reserved=5),
        frame(PING, b"?", is_final=False),
        frame(PING, b"?" * 126),
        frame(5),
    ],
    ids=["masked", "reserved bits", "a ping in pieces", "a large ping", "an unknown opcode"],
)
def test_a_frame_that_breaks_the_protocol(broken: bytes) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(broken)
    [event] = client.events()
    assert isinstance(event, CloseConnection)
    assert event.code == _PROTOCOL_ERROR


def test_a_message_is_json() -> None:
    assert text({"message_type": "PING"}).endswith(b'{"message_type":"PING"}')
