"""Certificates as private CAs make them, and as they should not be."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)
_NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Issued:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def write(self, path: Path, *chain: "Issued") -> Path:
        """Write certificate, further certificates and key into one file."""
        path.write_bytes(self.pem + b"".join(one.pem for one in chain) + self.key_pem)
        return path


def authority(
    name: str = "A private CA",
    *,
    issuer: Issued | None = None,
    key_usage: bool = True,
    critical_constraints: bool = True,
    may_issue: bool = True,
    key_identifiers: bool = True,
) -> Issued:
    """Return a CA, by default without a flaw, self-signed unless it has an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key, issuer).add_extension(
        x509.BasicConstraints(ca=may_issue, path_length=None), critical=critical_constraints
    )
    if key_usage:
        builder = builder.add_extension(_usage(), critical=True)
    if key_identifiers:
        builder = _identified(builder, key, issuer)
    return _signed(builder, key, issuer)


def leaf(  # each argument is a flaw
    issuer: Issued | None,
    *names: str,
    common_name: str = "a server",
    valid: tuple[timedelta, timedelta] = (-_DAY, 30 * _DAY),
    key_identifiers: bool = True,
    for_clients: bool = False,
) -> Issued:
    """Return a certificate, by default without a flaw, self-signed when it has no issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(common_name, key, issuer, valid)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_name(name) for name in names]), critical=False
        )
    if for_clients:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
    if key_identifiers:
        builder = _identified(builder, key, issuer)
    return _signed(builder, key, issuer)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: Issued | None,
    valid: tuple[timedelta, timedelta] = (-_DAY, 30 * _DAY),
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW + valid[0])
        .not_valid_after(_NOW + valid[1])
    )


def _identified(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer: Issued | None
) -> x509.CertificateBuilder:
    issuing = key if issuer is None else issuer.key
    return builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    ).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()), critical=False
    )


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer: Issued | None
) -> Issued:
    return Issued(builder.sign(key if issuer is None else issuer.key, hashes.SHA256()), key)


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
