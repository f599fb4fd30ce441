import ssl
from pathlib import Path

import pytest
import trustme

from broker.tls import TlsFiles


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def test_verifies_the_server_and_its_name_by_the_systems_authorities() -> None:
    context = TlsFiles().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs() == ssl.create_default_context().get_ca_certs()


def test_trusts_only_the_given_authorities(authority: trustme.CA, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    context = TlsFiles(path).context()
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("files", ["together", "apart"])
def test_shows_the_client_certificate(authority: trustme.CA, tmp_path: Path, files: str) -> None:
    issued = authority.issue_cert("broker.example")
    trusted, certificate, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(trusted)
    if files == "together":
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        client = TlsFiles(trusted, certificate).context()
    else:
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        client = TlsFiles(trusted, certificate, key).context()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("server.example").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED

    subject = shake_hands(client, server, "server.example")

    assert ("subjectAltName", (("DNS", "broker.example"),)) in subject.items()


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> dict[str, object]:
    """Return the certificate that the server sees."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = sides
    while waiting:
        still_waiting = []
        for side in waiting:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                still_waiting.append(side)
        waiting = still_waiting
    return dict(sides[1].getpeercert() or {})
