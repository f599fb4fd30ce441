"""What the sample agents say: chat messages out of one shared budget, without any I/O."""

import re
from datetime import UTC, datetime
from random import Random

import msgspec

from broker.sandbox.accounting import Ledger

_OWN_ID = re.compile(r"(?:message|malformed)-\d+")
_QUESTIONS = (
    "Is anybody there?",
    "What time is it where you are?",
    "Can you summarise this page for me?",
    "Which way is north?",
    "How many messages did you get today?",
)
_ANSWERS = (
    "Yes, and who are you?",
    "Later than you think.",
    "It is about agents that talk.",
    "Straight on.",
    "One more than before.",
)


def chat_message(
    message_type: str, message_id: str, sender_id: str, text: str, in_reply_to: str | None
) -> bytes:
    """Write a chat message of now."""
    message = {
        "message_type": message_type,
        "message_id": message_id,
        "sender_id": sender_id,
        "text_payload": text,
        "send_timestamp": datetime.now(UTC).isoformat(),
    }
    if in_reply_to is not None:
        message["in_reply_to_message_id"] = in_reply_to
    return msgspec.json.encode(message)


def is_own_id(message_id: str) -> bool:
    """Return whether an id looks like that of a message written by `Traffic`."""
    return _OWN_ID.fullmatch(message_id) is not None


class Traffic:
    """Writes the messages of all agents, and records each in the ledger.

    Whose turn it is may get a malformed message instead of the one asked for; those turns are
    spread evenly, so that their share is exact.

    Args:
        messages: How many messages may be written; None for as many as wanted.
        malformed: Percentage of messages that are malformed, from 0 to 100.
    """

    def __init__(
        self, ledger: Ledger, random: Random, *, messages: int | None, malformed: float
    ) -> None:
        self._ledger = ledger
        self._random = random
        self._budget = messages
        self._malformed = malformed
        self._written = 0

    @property
    def is_over(self) -> bool:
        """Whether no more messages will be written."""
        return self._budget is not None and self._written >= self._budget

    def end(self) -> None:
        """Write no more messages."""
        self._budget = self._written

    def text(self, sender_id: str) -> bytes | None:
        """Write a TEXT, or None when the budget is spent."""
        return self._write("TEXT", sender_id, _QUESTIONS)

    def reply(self, sender_id: str, message_id: str) -> bytes | None:
        """Write a REPLY to the message with that id, or None when the budget is spent."""
        return self._write("REPLY", sender_id, _ANSWERS, in_reply_to=message_id)

    def _write(
        self,
        message_type: str,
        sender_id: str,
        texts: tuple[str, ...],
        in_reply_to: str | None = None,
    ) -> bytes | None:
        if self.is_over:
            return None
        self._written += 1
        number = self._written
        if _whole(number, self._malformed) > _whole(number - 1, self._malformed):
            marker = f"malformed-{number}"
            self._ledger.record_sent(marker, sender_id, message_type, malformed=True)
            return b'{"message_type": "TEXT", "marker": "%b", ' % marker.encode()
        message_id = f"message-{number}"
        text = self._random.choice(texts)
        self._ledger.record_sent(message_id, sender_id, message_type, text)
        return chat_message(message_type, message_id, sender_id, text, in_reply_to)


def _whole(number: int, percentage: float) -> int:
    return int(number * percentage / 100)
