"""The broker as the image configures it answers probes with IPv4, IPv6 or both."""

import sys
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest

from broker.sandbox.broker_process import COMMAND, open_broker
from tests.deploy.conftest import NOWHERE
from tests.deploy.test_container import health, image_environment
from tests.lab import without_ipv6
from tests.lab.eventually import PATIENCE, eventually
from tests.lab.network_namespace import can_make_networks, from_within, in_network
from tests.sandbox.programs import free_port

IPV4, IPV6 = "192.0.2.7", "2001:db8::7"
GIVE_IPV4 = f"ip address add {IPV4}/32 dev lo"
GIVE_IPV6 = f"ip address add {IPV6}/128 dev lo nodad"
SETTINGS = {"BROKER_HTTP_HOST": image_environment()["BROKER_HTTP_HOST"], **NOWHERE}

with_networks = pytest.mark.skipif(
    not can_make_networks(), reason="needs root and network namespaces (unshare, ip)"
)


class Pod(NamedTuple):
    """What a pod's network is, and where its probes come from."""

    preparations: tuple[str, ...]
    reached_at: tuple[str, ...]


PODS = {
    "IPv6 only": Pod((GIVE_IPV6,), (IPV6, "::1")),
    "IPv4 only": Pod(
        ("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6", GIVE_IPV4), (IPV4, "127.0.0.1")
    ),
    "both": Pod((GIVE_IPV4, GIVE_IPV6), (IPV4, IPV6, "127.0.0.1", "::1")),
    "both, kept apart": Pod(
        ("echo 1 >/proc/sys/net/ipv6/bindv6only", GIVE_IPV4, GIVE_IPV6), (IPV4, IPV6)
    ),
}


def probe(port: int, host: str) -> int:
    """Return the status of `/livez`, or 0 when nobody answers."""
    connection = HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@with_networks
@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(pod, id=name, marks=[] if name == "IPv6 only" else pytest.mark.exhaustive)
        for name, pod in PODS.items()
    ],
)
async def test_a_pod_is_probed_at_its_address(pod: Pod, tmp_path: Path) -> None:
    port = image_environment()["BROKER_HTTP_PORT"]
    command = in_network(COMMAND, *pod.preparations)
    async with open_broker(tmp_path, {**SETTINGS, "BROKER_HTTP_PORT": port}, command) as broker:
        for host in pod.reached_at:
            ask = partial(from_within, broker.pid, partial(probe, int(port), host))
            await eventually(ask, f"an answer at {host}", until=lambda status: status == 200)
        assert await from_within(broker.pid, partial(health, port)) == 0


@pytest.mark.skipif(
    without_ipv6.SOCKET_CALLS.get(without_ipv6.MACHINE) is None,
    reason="IPv6 can be taken away on x86-64 and arm64 only",
)
async def test_a_system_without_ipv6_is_served_with_ipv4(tmp_path: Path) -> None:
    port = free_port()
    command = (sys.executable, without_ipv6.__file__, *COMMAND)
    async with open_broker(tmp_path, {**SETTINGS, "BROKER_HTTP_PORT": str(port)}, command):
        await eventually(
            partial(probe, port, "127.0.0.1"), "an answer", until=lambda status: status == 200
        )
    assert "http_failed" not in (tmp_path / "broker.log").read_text()
