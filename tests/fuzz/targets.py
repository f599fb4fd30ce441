"""All targets by name. A target's kept inputs are in `tests/fuzz/corpus/<name>`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fuzz import advertisement, chat, frames, metadata, payloads, properties, server

CORPUS = Path(__file__).parent / "corpus"

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "advertisement": advertisement.check,
    "chat": chat.check,
    "frames": frames.check,
    "metadata": metadata.check,
    "payloads": payloads.check,
    "properties": properties.check,
    "server": server.check,
}
