"""The RabbitMQ nodes, as the secret files of now have them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from broker.net.endpoints import AmqpEndpoint, parse_amqp_urls
from broker.net.unusable_file import UnusableFileError
from broker.settings.secret_files import SecretFile


@dataclass(frozen=True, slots=True)
class AmqpNodes:
    """The nodes to choose from. What a file says of them is read again for each connection.

    A URL in a file may change as a whole, its host and virtual host included: a session is built
    from nothing, and takes nothing along from the one before. It may not give up TLS while there
    are settings for it.

    Attributes:
        at_start: The nodes at the start, at least one.
        needs_tls: Whether each of them must be `amqps://`.
    """

    at_start: tuple[AmqpEndpoint, ...]
    url_file: SecretFile | None = None
    password_file: SecretFile | None = None
    needs_tls: bool = False
    has_certificate: bool = False

    @property
    def may_change(self) -> bool:
        """Whether any of it is in a file."""
        return self.url_file is not None or self.password_file is not None

    def read(self) -> tuple[AmqpEndpoint, ...]:
        """Return the nodes as they are to be connected to now. Blocks while files are read.

        Raises:
            UnusableFileError: A file cannot be used, or has a URL that may not be used.
        """
        if self.url_file is not None:
            nodes = parse_amqp_urls(self.url_file.read(), has_certificate=self.has_certificate)
            if self.needs_tls and not has_tls(nodes):
                raise UnusableFileError(
                    "AMQP_URL must be amqps:// throughout, as there are files for TLS"
                )
            return nodes
        if self.password_file is not None:
            password = self.password_file.read()
            return tuple(replace(node, password=password) for node in self.at_start)
        return self.at_start

    def read_again(self, node: AmqpEndpoint) -> AmqpEndpoint:
        """Return a node that `read` returned before, with its login of now. Blocks like `read`.

        Raises:
            UnusableFileError: A file cannot be used, or does not name the node any more.
        """
        there = [now for now in self.read() if _place(now) == _place(node)]
        if not there:
            raise UnusableFileError("AMQP_URL_FILE does not name this node any more")
        return next((now for now in there if now.user == node.user), there[0])


def has_tls(nodes: Iterable[AmqpEndpoint]) -> bool:
    """Return whether all nodes are `amqps://`."""
    return all(node.tls for node in nodes)


def _place(node: AmqpEndpoint) -> tuple[str, int, str, bool]:
    return node.host, node.port, node.vhost, node.tls
