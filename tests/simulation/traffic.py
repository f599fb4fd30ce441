"""What agents and the server send to the broker's queues: good messages, odd ones and junk."""

import json
from random import choice, choices, random
from typing import Any

from tests.simulation.ledger import Fate, Ledger
from tests.simulation.rabbitmq import ADVERTISEMENT, INPUT, METADATA, Rabbitmq

AGENTS = tuple(f"agent{number}" for number in range(6))
CAPABILITIES: tuple[list[str], ...] = (["sums"], ["tables"], ["tables", "sums"], [])

_PLAIN = b"\0\0"
_CORRELATED = b"\x04\x00\x05trace"
_NOT_UTF8 = b"\x04\x00\x02\xff\xfe"
_CUT = b"\x04\x00\x05tra"
"""Flags and properties of a content header."""


class Traffic:
    """Publishes to the broker's queues. Each message carries its number, to be told apart."""

    def __init__(self, rabbitmq: Rabbitmq, ledger: Ledger) -> None:
        self._rabbitmq = rabbitmq
        self._ledger = ledger

    def anything(self) -> None:
        [kind] = choices(
            [
                self.chat,
                self.choosy_chat,
                self.answer,
                self.error,
                self.junk,
                self.registration,
                self.disconnect,
                self.server,
            ],
            [7, 6, 3, 1, 2, 3, 1, 1],
        )
        kind()

    def chat(self, **more: Any) -> None:
        sender_id = choice([*AGENTS, "unknown", "stranger", None])
        properties = choices([_PLAIN, _CORRELATED, _NOT_UTF8, _CUT], [8, 2, 1, 1])[0]
        fate = Fate.PARKED if properties is _CUT else Fate.ROUTED
        fields: dict[str, Any] = {"message_type": choice(["TEXT", "REPLY", "SYSTEM"]), **more}
        if sender_id is not None:
            fields["sender_id"] = sender_id
        if sender_id == "stranger" and random() < 0.5:
            fields["_client_id"] = "client"
        self._publish(INPUT, fate, fields, sender_id=sender_id, properties=properties)

    def choosy_chat(self) -> None:
        """Send a message that not everybody may receive."""
        more: dict[str, Any] = {}
        if random() < 0.6:
            more["receiver_id"] = choice([*AGENTS, "stranger", ""])
        if random() < 0.6:
            more["required_capabilities"] = choice([*CAPABILITIES, None, ["dance"]])
        if random() < 0.3:
            more["conversation_id"] = choice(["c1", "c2", 5])
        self.chat(**more)

    def answer(self) -> None:
        """Answer a message as one of its receivers; or one that nobody has sent."""
        asked = [one for one in self._ledger.messages.values() if one.receivers][-10:]
        if not asked:
            self.chat(in_reply_to="#0#")
            return
        message = choice(asked)
        sender_id = choice(sorted(message.receivers))
        message_type = choice(["TEXT", "REPLY", "ERROR"])
        name = choice(["in_reply_to_message_id", "in_reply_to"])
        fields = {"message_type": message_type, "sender_id": sender_id, name: f"#{message.number}#"}
        self._publish(
            INPUT, Fate.ROUTED, fields, sender_id=None if message_type == "ERROR" else sender_id
        )

    def error(self) -> None:
        self._publish(INPUT, Fate.ROUTED, {"message_type": "ERROR"})

    def junk(self) -> None:
        queue = choice([INPUT, METADATA, ADVERTISEMENT])
        kinds: list[dict[str, Any]] = [
            {},
            {"message_type": "NEWS"},
            {"message_type": 5},
            {"message_type": "TEXT", "required_capabilities": "sums"},
        ]
        self._publish(queue, Fate.PARKED, choice(kinds))

    def registration(self) -> None:
        fields: dict[str, Any] = {"message_type": "REGISTER_AGENT", "agent_id": choice(AGENTS)}
        if random() < 0.8:
            fields["capabilities"] = choice(CAPABILITIES)
        self._publish(METADATA, Fate.ROUTED, fields, number_field="_client_id")

    def disconnect(self) -> None:
        fields = {"message_type": "CLIENT_DISCONNECTED", "agent_id": choice(AGENTS)}
        self._publish(METADATA, Fate.NOTHING, fields)

    def server(self) -> None:
        fields = {"message_type": "SERVER_AVAILABLE", "server_id": "server"}
        self._publish(ADVERTISEMENT, Fate.NOTHING, fields)

    def _publish(
        self,
        queue: str,
        fate: Fate,
        fields: dict[str, Any],
        *,
        number_field: str = "message_id",
        sender_id: str | None = None,
        properties: bytes = _PLAIN,
    ) -> None:
        message = self._ledger.accept(fate, sender_id)
        body = json.dumps({**fields, number_field: f"#{message.number}#"}).encode()
        self._rabbitmq.take(queue, message, body, properties)
