"""TLS contexts for the connections to RabbitMQ and to the central server."""

import ssl
from pathlib import Path


def client_context(
    ca_file: Path | None = None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """Return a context that verifies the server and its host name.

    Args:
        ca_file: CA certificates to trust instead of the system's.
        cert_file: The client certificate to show, with its key unless that has a file of its own.
        key_file: The private key of the client certificate.

    Raises:
        OSError: A file cannot be read, or holds no certificate or key.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file)
    return context
