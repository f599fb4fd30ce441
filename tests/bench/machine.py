"""What the figures depend on: machine, versions, settings."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from broker import __version__
from tests.bench.environment import OUR_PREFETCH, PEER_PYTHON
from tests.bench.names import AGENTS, PEER_PREFETCH
from tests.lab.rabbitmq_node import RabbitmqNode

_OURS = ("aiormq", "anyio", "msgspec", "trio")
_PEERS = ("aio-pika", "faststream", "pika")
_VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def hardware() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "broker": __version__,
    }


async def describe(node: RabbitmqNode) -> dict[str, str]:
    return {
        **hardware(),
        "rabbitmq": (await node.ctl("version")).strip(),
        **{name: version(name) for name in _OURS},
        **_peer_versions(_PEERS),
        "agents online": str(len(AGENTS)),
        "prefetch": f"{OUR_PREFETCH}, also in C; of the other libraries {PEER_PREFETCH}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _peer_versions(names: Sequence[str]) -> dict[str, str]:
    completed = subprocess.run(
        [PEER_PYTHON, "-c", _VERSIONS, *names], capture_output=True, check=True
    )
    versions: dict[str, str] = json.loads(completed.stdout)
    return versions
