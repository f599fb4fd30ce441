"""Find the RabbitMQ that is installed on this machine."""

import os
import shutil
from dataclasses import dataclass
from typing import Final

from broker.sandbox.rabbitmq_errors import RabbitmqNotInstalledError

# Looked through before PATH: Debian's command on PATH switches to a system user and its files.
PACKAGE_DIRECTORIES: Final = ("/usr/lib/rabbitmq/bin",)
# Looked through after PATH: Homebrew's folders are often missing from it.
EXTRA_DIRECTORIES: Final = ("/opt/homebrew/sbin", "/opt/homebrew/bin", "/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class Installation:
    """The commands of a RabbitMQ on this machine, and the PATH on which they find each other."""

    server: str
    ctl: str
    epmd: str
    search_path: str


def find_installation() -> Installation:
    """Find RabbitMQ where packages put it, or on PATH.

    Raises:
        RabbitmqNotInstalledError: It is missing; the text says how to install it.
    """
    search_path = os.pathsep.join(
        (*PACKAGE_DIRECTORIES, os.environ.get("PATH", os.defpath), *EXTRA_DIRECTORIES)
    )
    server, ctl, epmd, erl = (
        shutil.which(program, path=search_path)
        for program in ("rabbitmq-server", "rabbitmqctl", "epmd", "erl")
    )
    if server is None or ctl is None or epmd is None or erl is None:
        raise RabbitmqNotInstalledError(
            "RabbitMQ is not installed here. Install it with"
            " `apt-get install rabbitmq-server` or `brew install rabbitmq`."
        )
    return Installation(server, ctl, epmd, search_path)
