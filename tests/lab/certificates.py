"""Certificates for 127.0.0.1 that no client may accept."""

from datetime import UTC, datetime, timedelta

import trustme

_HOST = "127.0.0.1"
_LONG_AGO = datetime.now(UTC) - timedelta(days=2)
_YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def refused_certificate(what: str, authority: trustme.CA) -> trustme.LeafCert:
    """Return one that is `expired`, for `another host`, or else of another authority."""
    match what:
        case "expired":
            return authority.issue_cert(_HOST, not_before=_LONG_AGO, not_after=_YESTERDAY)
        case "another host":
            return authority.issue_cert("rabbitmq.example")
        case _:
            return trustme.CA().issue_cert(_HOST)
