"""TLS for the connections to RabbitMQ and to the central server: contexts, and errors in words."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from broker.net.certificate_names import certificate_names
from broker.net.unusable_file import UnusableFileError

_SHOWN_NAMES = 5

# OpenSSL's X509_V_ERR_* codes.
_OUT_OF_TIME = {9, 10}
_SELF_SIGNED = 18
_OTHER_HOST = {62, 64}
_WEAK = {66, 67, 68}
_WRONG_PURPOSE = {26}
_NO_CA = {25, 32, 79}
_STRICT = {*range(80, 95)}
"""What is looked at only with `ssl.VERIFY_X509_STRICT`."""

# OpenSSL's names of what can go wrong besides.
_NO_TLS = {
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
    "UNEXPECTED_MESSAGE",
    "BAD_RECORD_TYPE",
}
_OLD_TLS = {
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_SSL_VERSION",
    "VERSION_TOO_LOW",
}
_NO_CIPHER = {
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "NO_SHARED_CIPHER",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY",
}
_UNKNOWN_NAME = {"TLSV1_UNRECOGNIZED_NAME"}
_NO_CLIENT_CERTIFICATE = {"TLSV13_ALERT_CERTIFICATE_REQUIRED"}
_CLIENT_CERTIFICATE_REFUSED = {
    "TLSV1_ALERT_UNKNOWN_CA",
    "TLSV1_ALERT_ACCESS_DENIED",
    "TLSV1_ALERT_DECRYPT_ERROR",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a TLS context, read again for each connection: they may be replaced meanwhile.

    Attributes:
        ca_file: CA certificates to trust instead of the system's.
        cert_file: The client certificate to show, with its key unless that has a file of its own.
        settings: What the variables that name them begin with.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    settings: str = "AMQP"

    def context(self) -> ssl.SSLContext:
        """Read the files, and return a context that verifies the server and its host name.

        It blocks: a file may lie in a network, and the system's CA certificates are many.

        Raises:
            UnusableFileError: A file cannot be read, or holds no certificate or key.
        """
        context = ssl.create_default_context() if self.ca_file is None else self._trusting()
        context.sslobject_class = _Connection
        if self.cert_file is not None:
            self._show_certificate(context)
        return context

    def _trusting(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise UnusableFileError(
                f"{self.settings}_CA_FILE must name a readable file with CA certificates in PEM "
                f"format ({_reason(error, 'it holds none')})"
            ) from None
        # Whoever names a CA means it. OpenSSL by itself, Java, Go, Erlang and curl accept private
        # CAs whose certificates lack what RFC 5280 demands, such as key identifiers.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def _show_certificate(self, context: ssl.SSLContext) -> None:
        files = f"{self.settings}_CERT_FILE"
        if self.key_file is not None:
            files += f" and {self.settings}_KEY_FILE"
        try:
            # An empty password fails on an encrypted key, where none would ask at the terminal.
            context.load_cert_chain(str(self.cert_file), self.key_file, password="")
        except (OSError, ValueError) as error:
            raise UnusableFileError(
                f"{files} must hold a certificate and its unencrypted private key in PEM format "
                f"({_reason(error, 'they hold none, or not those of one another')})"
            ) from None


def server_name(host: str) -> str:
    """Return the name of a host as its certificate has it: without the dot of the DNS's root."""
    return host.removesuffix(".")


def speaks_no_tls(error: ssl.SSLError) -> bool:
    """Return whether the peer answered with something that is not TLS."""
    return error.reason in _NO_TLS


def explain(
    error: ssl.SSLError, ca_variable: str, cert_variable: str | None = None
) -> tuple[str, str]:
    """Return what went wrong, and what to do about it, perhaps with one of the settings."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_refused(error, ca_variable)
    reason = error.reason or ""
    said = reason.lower().replace("_", " ") or error.strerror or "the connection was closed"
    lets_in_without = "let it accept clients without one"
    if speaks_no_tls(error):
        found = "the peer does not speak TLS on this port"
        advice = "connect to its port with TLS, or without TLS"
    elif reason in _OLD_TLS:
        found, advice = "the peer speaks no safe version of TLS", "let it speak TLS 1.2 or newer"
    elif reason in _NO_CIPHER:
        # TLS 1.2 has no other answer to a client without a certificate.
        wanted = f"if it wants a client certificate, {cert_variable} must name one; otherwise "
        found = "the peer refused the TLS handshake"
        advice = f"{wanted if cert_variable else ''}see its log, and the ciphers that it offers"
    elif reason in _UNKNOWN_NAME:
        found = "the peer has no certificate for this host name"
        advice = "connect by a name that it knows"
    elif reason in _NO_CLIENT_CERTIFICATE:
        found = "the peer wants a client certificate"
        advice = f"{cert_variable} must name one" if cert_variable else lets_in_without
    elif reason in _CLIENT_CERTIFICATE_REFUSED:
        found = "the peer refused the client certificate, or that there is none"
        advice = (
            f"{cert_variable} must name one that has not expired, of a CA that the peer trusts"
            if cert_variable
            else lets_in_without
        )
    else:
        found, advice = "the TLS handshake failed", "see the peer's log and its settings of TLS"
    return f"{found} ({said})", advice


def describe(error: ssl.SSLError, ca_variable: str, cert_variable: str | None = None) -> str:
    """Return what `explain` does in one line."""
    return "; ".join(explain(error, ca_variable, cert_variable))


def _explain_refused(error: ssl.SSLCertVerificationError, ca_variable: str) -> tuple[str, str]:
    found = f"certificate verify failed: {error.verify_message.rstrip('.')}"
    code = error.verify_code
    if code in _OUT_OF_TIME:
        advice = "renew it, or set this machine's clock"
    elif code in _OTHER_HOST:
        # What the certificate is for, as far as it could be read.
        found += "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        advice = "connect by a name that the certificate is for, or add this one to it"
    elif code == _SELF_SIGNED:
        advice = f"{ca_variable} must name that certificate, or a CA must issue it"
    elif code in _WEAK:
        advice = "issue it anew, with a key of 2048 bits or more and SHA-256"
    elif code in _WRONG_PURPOSE:
        advice = "issue it anew, with the extended key usage of a server (serverAuth)"
    elif code in _NO_CA:
        advice = "let it be issued by a CA whose own certificate allows that"
    elif code in _STRICT:
        advice = (
            f"{ca_variable} must name the certificate of its CA: then it is verified less strictly "
            "than those of public CAs; or issue it anew, as RFC 5280 has it"
        )
    else:
        advice = (
            f"{ca_variable} must name the certificate of the CA that issued it, and the peer must "
            "send all certificates in between"
        )
    return found, advice


class _Connection(ssl.SSLObject):
    """Notes on its error which names a certificate is for, when it is not for the wanted one."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            chain = self.get_unverified_chain()
            names = certificate_names(chain[0]) if chain else None
            if names is not None:
                error.add_note(_names_note(names))
            raise


def _names_note(names: tuple[str, ...]) -> str:
    if not names:
        return "it has no subject alternative name"
    shown = ", ".join(names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"it is for {shown}" + (f" and {more} more" if more > 0 else "")


def _reason(error: Exception, otherwise: str) -> str:
    # OpenSSL's own texts name places in its source.
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return error.strerror
    return otherwise
