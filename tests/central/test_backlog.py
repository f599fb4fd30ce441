import pytest

from broker.central.backlog import Backlog
from broker.central.websocket import WebSocketError

LIMIT = 10_000


def put_all(backlog: Backlog[int], size: int) -> None:
    for number in range(1000):
        backlog.put(number, size)


@pytest.mark.parametrize(("size", "room"), [(0, 10), (4000, 2), (LIMIT, 1), (10 * LIMIT, 1)])
async def test_what_waits_is_bounded_in_bytes_and_in_number(size: int, room: int) -> None:
    backlog = Backlog[int](LIMIT)
    for _ in range(2):
        with pytest.raises(WebSocketError, match="faster"):
            put_all(backlog, size)
        assert [await backlog.take() for _ in range(room)] == list(range(room))
