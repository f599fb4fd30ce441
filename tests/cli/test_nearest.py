"""Suggestions: near ones, and none when nothing is near."""

import pytest

from broker.cli.nearest import nearest

COMMANDS = ("agents", "check", "config", "dead-letters", "run", "sandbox", "send", "status")
OPTIONS = ("rabbitmq-host", "rabbitmq-port", "broker-http-port", "broker-prefetch", "format")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("statsu", ["status"]),  # swapped
        ("statuss", ["status"]),  # added
        ("statu", ["status"]),  # missing
        ("stetus", ["status"]),  # replaced
        ("stetsu", ["status"]),  # two slips
        ("rnu", ["run"]),
        ("nr", []),  # two slips in a word of two letters
        ("start", []),
        ("dead", ["dead-letters"]),
        ("letters", ["dead-letters"]),
        ("de", []),
        ("", []),
        ("x" * 1000, []),
    ],
)
def test_commands(written: str, meant: list[str]) -> None:
    assert nearest(written, COMMANDS) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rabbit-host", ["rabbitmq-host"]),
        ("host", ["rabbitmq-host"]),
        ("port", ["broker-http-port", "rabbitmq-port"]),
        ("fromat", ["format"]),
        ("foo", []),
        ("amqp-url", []),
    ],
)
def test_options(written: str, meant: list[str]) -> None:
    assert nearest(written, OPTIONS) == meant


def test_too_many_are_none() -> None:
    assert nearest("aaaa", ["aaab", "aaac", "aaad", "aaae"]) == []
    assert nearest("aaaa", []) == []
