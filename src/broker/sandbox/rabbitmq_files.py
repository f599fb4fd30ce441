"""The files and environment variables of a private RabbitMQ node."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.sandbox.free_ports import HOST, free_ports

CONFIG: Final = "rabbitmq.conf"
ADVANCED_CONFIG: Final = "advanced.config"
PLUGINS: Final = "enabled_plugins"
BASE_CONFIG: Final = (
    "listeners.tcp.1 = {address}:{port}\n"
    # The default may be more than what a small machine has free.
    "disk_free_limit.absolute = 50MB\n"
)


@dataclass(frozen=True, slots=True)
class Membership:
    """How other nodes know a node. A lone one is a cluster of its own.

    Attributes:
        name: The node's name without the host; no other node on this machine has it.
        cookie: The secret that the nodes share.
        epmd_port: Where all of them are registered.
        keeps_epmd: Whether this node runs the epmd, from its first start to its close.
        address: The IPv4 address at which it listens, and at which the others reach it.
    """

    name: str
    cookie: str
    epmd_port: int
    keeps_epmd: bool = True
    address: str = HOST

    @property
    def node(self) -> str:
        """What Erlang calls the node."""
        return f"{self.name}@{'localhost' if self.address == HOST else self.address}"


def unique_name() -> str:
    """Return a name that also tells a node's answer from that of another on the same port."""
    return f"sandbox-{secrets.token_hex(6)}"


def lone_member() -> Membership:
    """Return the membership of a node that has its epmd, whose port is free now, for itself."""
    [epmd_port] = free_ports(1)
    return Membership(unique_name(), secrets.token_hex(16), epmd_port)


def write_files(
    directory: Path,
    membership: Membership,
    *,
    port: int,
    distribution_port: int,
    search_path: str,
) -> Mapping[str, str]:
    """Write what the node needs, and return the environment in which its commands find it."""
    (directory / CONFIG).write_text(
        BASE_CONFIG.format(address=membership.address, port=port), encoding="ascii"
    )
    cookie = directory / ".erlang.cookie"
    cookie.write_text(membership.cookie, encoding="ascii")
    cookie.chmod(0o400)
    advanced_config, plugins = directory / ADVANCED_CONFIG, directory / PLUGINS
    advanced_config.write_text("[].\n", encoding="ascii")
    plugins.write_text("[].\n", encoding="ascii")
    interface = f"-kernel inet_dist_use_interface {{{membership.address.replace('.', ',')}}}"
    # Nothing of another node's configuration, on this machine or in this environment, may leak in.
    inherited = {
        variable: value
        for variable, value in os.environ.items()
        if not variable.startswith(("RABBITMQ_", "ERL_", "NOTIFY_SOCKET"))
    }
    return {
        **inherited,
        "PATH": search_path,
        "HOME": str(directory),  # where Erlang looks for the cookie
        "LC_ALL": "C.UTF-8",
        "ERL_EPMD_PORT": str(membership.epmd_port),
        "ERL_EPMD_ADDRESS": membership.address,
        # Whatever starts a virtual machine here would otherwise start an epmd that outlives it.
        "ERL_FLAGS": "-start_epmd false",
        "ERL_CRASH_DUMP_BYTES": "0",
        "RABBITMQ_NODENAME": membership.node,
        # An address is no short name to Erlang.
        "RABBITMQ_USE_LONGNAME": "false" if membership.address == HOST else "true",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": interface,
        # Makes the script become the virtual machine instead of standing before it with a shell's
        # idea of signals; the second variable is what it would otherwise have passed on.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_START_ARGS": "-noinput +B i",
        "RABBITMQ_CTL_ERL_ARGS": interface,
        "RABBITMQ_CTL_DIST_PORT_MIN": "0",  # any free port
        "RABBITMQ_CTL_DIST_PORT_MAX": "0",
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_LOGS": "-",  # to stdout, and so into the one log
        "RABBITMQ_CONFIG_FILE": str(directory / CONFIG),
        "RABBITMQ_CONFIG_FILES": str(directory / "conf.d" / "*.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(advanced_config),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
    }
