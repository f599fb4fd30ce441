from broker.core.messages import Rejected, RejectReason

MARKER = "m4rk3r"
"""Stands in bodies for what must not leak into errors."""


def assert_rejected(result: object, reason: RejectReason | None = None, naming: str = "") -> None:
    """Assert that something is rejected, and that the error says why without quoting it."""
    assert isinstance(result, Rejected)
    assert isinstance(result.reason, RejectReason)
    assert reason in {None, result.reason}
    assert naming in result.error
    assert 0 < len(result.error.encode()) <= 255
    assert result.error.isprintable()
    assert MARKER not in result.error
