"""The names that a certificate is for, of one that was refused.

OpenSSL says that a name does not match, and not what it was compared with. Python decodes only
certificates that were accepted.
"""

import ipaddress
from collections.abc import Iterator

_SUBJECT_ALT_NAME = bytes.fromhex("0603551d11")  # the object identifier 2.5.29.17
_SEQUENCE, _OCTET_STRING, _BOOLEAN = 0x30, 0x04, 0x01
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_LONG_LENGTH = 0x80


def certificate_names(certificate: bytes) -> tuple[str, ...] | None:
    """Return the DNS names and IP addresses in the subject alternative name of a certificate.

    The certificate is in DER, and anybody may have sent it. None if it cannot be read.
    """
    _, found, rest = certificate.partition(_SUBJECT_ALT_NAME)
    if not found:
        return ()
    try:
        tag, value, rest = _element(rest)
        if tag == _BOOLEAN:  # whether it is critical
            tag, value, _ = _element(rest)
        if tag != _OCTET_STRING:
            return None
        tag, value, _ = _element(value)
        return tuple(_names(value)) if tag == _SEQUENCE else None
    except (IndexError, ValueError):
        return None


def _names(rest: bytes) -> Iterator[str]:
    while rest:
        tag, value, rest = _element(rest)
        if tag == _DNS_NAME:
            yield value.decode("ascii")
        elif tag == _IP_ADDRESS:
            yield str(ipaddress.ip_address(value))


def _element(encoded: bytes) -> tuple[int, bytes, bytes]:
    """Return tag and value of the first element, and what follows it."""
    tag, length, begin = encoded[0], encoded[1], 2
    if length & _LONG_LENGTH:
        begin += length & ~_LONG_LENGTH
        length = int.from_bytes(encoded[2:begin])
    end = begin + length
    if end > len(encoded):
        raise IndexError
    return tag, encoded[begin:end], encoded[end:]
