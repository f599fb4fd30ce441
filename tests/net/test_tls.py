import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from broker.net.certificate_names import certificate_names
from broker.net.tls import TlsFiles, describe, server_name
from broker.net.unusable_file import UnusableFileError
from tests.lab.flawed_certificates import Issued, authority, leaf


@pytest.fixture
def authority_of_trustme() -> trustme.CA:
    return trustme.CA()


def test_verifies_the_server_and_its_name_by_the_systems_authorities() -> None:
    context = TlsFiles().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs() == ssl.create_default_context().get_ca_certs()


@pytest.mark.parametrize("files", ["together", "apart"])
def test_shows_the_client_certificate(
    authority_of_trustme: trustme.CA, tmp_path: Path, files: str
) -> None:
    issued = authority_of_trustme.issue_cert("broker.example")
    trusted, certificate, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority_of_trustme.cert_pem.write_to_path(trusted)
    if files == "together":
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        client = TlsFiles(trusted, certificate).context()
    else:
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        client = TlsFiles(trusted, certificate, key).context()
    assert len(client.get_ca_certs()) == 1, "it trusts only the given authorities"
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert client.check_hostname
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority_of_trustme.issue_cert("server.example").configure_cert(server)
    authority_of_trustme.configure_trust(server)
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


HOST = "rabbit.example"
DAY = timedelta(days=1)


def refused(trusted: Issued | None, shown: Issued, directory: Path) -> str:
    """Return what is said of a certificate that is shown, and refused."""
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        met(trusted, shown, directory)
    return describe(caught.value, "AMQP_CA_FILE", "AMQP_CERT_FILE")


def met(trusted: Issued | None, shown: Issued, directory: Path, *chain: Issued) -> None:
    """Connect to a server that shows a certificate."""
    ca_file = None
    if trusted is not None:
        ca_file = directory / "ca.pem"
        ca_file.write_bytes(trusted.pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown.write(directory / "server.pem", *chain))
    shake_hands(TlsFiles(ca_file).context(), server, HOST)


def signed(*, ca: Issued | None = None, key_identifiers: bool = True) -> tuple[Issued, Issued]:
    ca = ca or authority()
    return ca, leaf(ca, HOST, key_identifiers=key_identifiers)


FLAWED_CAS: dict[str, Callable[[], tuple[Issued, Issued]]] = {
    "no authority key identifier": lambda: signed(key_identifiers=False),
    "no key identifiers at all": lambda: signed(
        ca=authority(key_identifiers=False), key_identifiers=False
    ),
    "CA without key usage": lambda: signed(ca=authority(key_usage=False)),
    "basic constraints not critical": lambda: signed(ca=authority(critical_constraints=False)),
    "a self-signed server": lambda: ((one := leaf(None, HOST)), one),
}


@pytest.mark.parametrize("flaw", FLAWED_CAS)
def test_a_ca_of_ones_own_is_verified_as_others_do(flaw: str, tmp_path: Path) -> None:
    met(*FLAWED_CAS[flaw](), tmp_path)


@pytest.mark.parametrize("flaw", list(FLAWED_CAS)[:-1])
def test_the_systems_trust_stays_strict_and_names_the_flaw(
    flaw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, shown = FLAWED_CAS[flaw]()
    store = tmp_path / "store.pem"
    store.write_bytes(trusted.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    said = refused(None, shown, tmp_path)
    assert "AMQP_CA_FILE must name the certificate of its CA: then it is verified less" in said
    assert not said.startswith("certificate verify failed: unable")


def of_an_intermediate(root: Issued) -> Issued:
    return leaf(authority("An intermediate CA", issuer=root), HOST)


@pytest.mark.parametrize(
    ("shown", "found", "advice"),
    [
        (
            lambda ca: leaf(ca, HOST, valid=(-2 * DAY, -DAY)),
            "certificate has expired",
            "renew it, or set this machine's clock",
        ),
        (
            lambda ca: leaf(ca, HOST, valid=(DAY, 2 * DAY)),
            "certificate is not yet valid",
            "renew it, or set this machine's clock",
        ),
        (
            lambda ca: leaf(ca, "other.example", "10.1.2.3", "fd00::1"),
            "not valid for 'rabbit.example' (it is for other.example, 10.1.2.3, fd00::1)",
            "connect by a name that the certificate is for",
        ),
        (
            lambda ca: leaf(ca, *(f"{number}.example" for number in range(7))),
            "(it is for 0.example, 1.example, 2.example, 3.example, 4.example and 2 more)",
            "connect by a name that the certificate is for",
        ),
        (
            lambda ca: leaf(ca, common_name="someone"),
            "certificate is not valid for 'rabbit.example' (it has no subject alternative name)",
            "or add this one to it",
        ),
        (
            lambda _: leaf(authority("Another CA"), HOST),
            "unable to get local issuer certificate",
            "AMQP_CA_FILE must name the certificate of the CA that issued it",
        ),
        (
            of_an_intermediate,
            "unable to get local issuer certificate",
            "the peer must send all certificates in between",
        ),
        (
            lambda _: leaf(None, HOST),
            "self-signed certificate",
            "AMQP_CA_FILE must name that certificate, or a CA must issue it",
        ),
        (
            lambda ca: leaf(ca, HOST, for_clients=True),
            "unsuitable certificate purpose",
            "the extended key usage of a server",
        ),
    ],
)
def test_each_flaw_is_named_with_advice(
    shown: Callable[[Issued], Issued], found: str, advice: str, tmp_path: Path
) -> None:
    ca = authority()
    said = refused(ca, shown(ca), tmp_path)
    assert said.startswith("certificate verify failed: ")
    assert found in said
    assert advice in said
    assert "_ssl.c" not in said


def test_an_intermediate_that_is_sent_is_enough(tmp_path: Path) -> None:
    root = authority()
    intermediate = authority("An intermediate CA", issuer=root)
    met(root, leaf(intermediate, HOST), tmp_path, intermediate)


def test_one_that_may_not_issue_certificates_issues_none(tmp_path: Path) -> None:
    ca = authority(may_issue=False)
    assert "a CA whose own certificate allows that" in refused(ca, leaf(ca, HOST), tmp_path)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("WRONG_VERSION_NUMBER", "the peer does not speak TLS on this port (wrong version number)"),
        ("RECORD_LAYER_FAILURE", "the peer does not speak TLS on this port (record layer failure)"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "let it speak TLS 1.2 or newer"),
        ("UNSUPPORTED_PROTOCOL", "let it speak TLS 1.2 or newer"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "if it wants a client certificate, AMQP_CERT_FILE must"),
        ("TLSV1_UNRECOGNIZED_NAME", "connect by a name that it knows"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "wants a client certificate"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "AMQP_CERT_FILE must name one that has not expired"),
        ("TLSV1_ALERT_UNKNOWN_CA", "of a CA that the peer trusts"),
        ("SOMETHING_ELSE", "the TLS handshake failed (something else); see the peer's log"),
    ],
)
def test_what_a_peer_refuses_is_said_in_words(reason: str, text: str) -> None:
    error = ssl.SSLError(1, f"[SSL: {reason}] (_ssl.c:1020)")
    error.reason = reason
    assert text in describe(error, "AMQP_CA_FILE", "AMQP_CERT_FILE")
    assert "None" not in describe(error, "WEBSOCKET_CA_FILE")


def test_files_that_cannot_be_used_are_named(
    authority_of_trustme: trustme.CA, tmp_path: Path
) -> None:
    empty, missing = tmp_path / "empty.pem", tmp_path / "missing.pem"
    empty.write_text("")
    one, other = (authority_of_trustme.issue_cert("a.example") for _ in range(2))
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    one.cert_chain_pems[0].write_to_path(certificate)
    other.private_key_pem.write_to_path(key)
    for files, text in (
        (TlsFiles(missing), "AMQP_CA_FILE must name a readable file with CA certificates in PEM"),
        (TlsFiles(missing), "(No such file or directory)"),
        (TlsFiles(empty, settings="WEBSOCKET"), "WEBSOCKET_CA_FILE must name"),
        (TlsFiles(empty), "(it holds none)"),
        (TlsFiles(cert_file=empty), "AMQP_CERT_FILE must hold a certificate and its unencrypted"),
        # In the middle of a rotation.
        (TlsFiles(None, certificate, key), "AMQP_CERT_FILE and AMQP_KEY_FILE must hold"),
        (TlsFiles(None, certificate, missing), "(No such file or directory)"),
    ):
        with pytest.raises(UnusableFileError) as caught:
            files.context()
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("host", "name"), [("rabbit.example.", "rabbit.example"), ("rabbit", "rabbit"), ("::1", "::1")]
)
def test_a_certificate_is_not_for_the_dot_of_the_root(host: str, name: str) -> None:
    assert server_name(host) == name


@given(st.binary(max_size=60))
def test_names_of_anything_are_read_without_failing(rest: bytes) -> None:
    names = certificate_names(b"\x06\x03\x55\x1d\x11" + rest)
    assert names is None or all(isinstance(name, str) for name in names)
