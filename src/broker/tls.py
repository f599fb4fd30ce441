"""TLS contexts for the connections to RabbitMQ and to the central server."""

import ssl
from pathlib import Path

# OpenSSL's X509_V_ERR_* codes.
_OUT_OF_TIME = {9, 10}
_OTHER_HOST = {62, 64}


def describe(error: ssl.SSLError, ca_variable: str) -> str:
    """Return what went wrong, and what to do about a certificate that is refused.

    Args:
        error: What OpenSSL raised.
        ca_variable: The setting that names the CA certificates to trust.
    """
    if not isinstance(error, ssl.SSLCertVerificationError):
        return str(error)
    if error.verify_code in _OUT_OF_TIME:
        advice = "renew it, or set this machine's clock"
    elif error.verify_code in _OTHER_HOST:
        advice = "connect by a name that the certificate is for"
    else:
        advice = f"{ca_variable} must name the certificate of the CA that issued it"
    reason = error.verify_message.rstrip(".")
    return f"certificate verify failed: {reason}; {advice}"


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
