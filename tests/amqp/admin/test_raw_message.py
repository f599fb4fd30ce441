from broker.amqp.admin.raw_message import RawMessage


def test_no_body_in_an_error_message() -> None:
    assert "secret" not in repr(RawMessage(1, b"secret", b"secret"))
