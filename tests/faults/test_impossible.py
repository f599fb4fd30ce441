"""The catalogue contains what it says."""

import json
import struct

import pytest

from tests.faults.impossible import ORDEALS, Ordeal
from tests.faults.poison import MAX_BYTES, Poison
from tests.lab.raw_content import FRAME_MAX, Content, content_frames, header_filling


def frame_sizes(content: Content, frame_max: int) -> list[int]:
    frames = content_frames(1, b"", b"q", content.properties, content.body, frame_max=frame_max)
    sizes = []
    while frames:
        (payload,) = struct.unpack_from(">I", frames, 3)
        sizes.append(payload + 8)
        frames = frames[payload + 8 :]
    return sizes


@pytest.mark.parametrize("frame_max", [4_096, 8_192, FRAME_MAX])
def test_headers_that_fill_a_frame_do_so(frame_max: int) -> None:
    content = Content(b"x" * 3 * frame_max, header_filling(frame_max))
    _, header, *bodies = frame_sizes(content, frame_max)
    assert header == frame_max
    assert max(bodies) == frame_max
    assert sum(bodies) - 8 * len(bodies) == len(content.body)


@pytest.mark.parametrize("ordeal", ORDEALS, ids=lambda ordeal: ordeal.name)
class TestOrdeal:
    def test_all_bodies_differ(self, ordeal: Ordeal) -> None:
        makers = [*ordeal.before, *ordeal.after]
        bodies = [make(number).content.body for number, make in enumerate(makers)]
        assert len(set(bodies)) == len(bodies)

    def test_what_is_too_large_is_as_large_as_it_says(self, ordeal: Ordeal) -> None:
        for make in (*ordeal.before, *ordeal.after):
            message = make(7)
            body = message.content.body
            if isinstance(message, Poison) and message.reason == "too_large":
                assert message.name == f"a TEXT of {len(body)} bytes"
                assert json.loads(body)["message_id"] == "i-7"

    def test_what_comes_later_passes_the_limit_itself(self, ordeal: Ordeal) -> None:
        frame_max = (ordeal.limit == "frame_max" and ordeal.value) or FRAME_MAX
        for make in ordeal.after:
            content = make(0).content
            assert max(frame_sizes(content, frame_max)) <= frame_max
            assert ordeal.limit != "max_message_size" or len(content.body) <= MAX_BYTES
