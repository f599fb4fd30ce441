"""All messages as tables, from what `broker asyncapi` prints."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from broker.cli.asyncapi_document import asyncapi_document
from broker.settings import Settings
from tests.bench.markdown import section, table

type Schema = Mapping[str, Any]

_TITLES = {
    "input": "In `broker_input_queue`, from agents",
    "metadata": "In `agent_metadata_queue`, from the server",
    "advertisement": "In `server_advertisement_queue`, from the server",
    "output": "In `broker_output_queue`, from the broker",
    "deadLetter": "In `broker_dead_letter_queue`, from the broker",
    "registry": "Through the exchange `broker_registry_events`, between brokers",
    "server": "Through the WebSocket, between the server and the broker",
}


def message_tables() -> str:
    document = asyncapi_document(Settings())
    lines = "\n".join(_Tables(document["components"]).lines(document["channels"]))
    return re.sub(r"\n{2,}", "\n\n", f"{lines}\n")


class _Tables:
    def __init__(self, components: Mapping[str, Any]) -> None:
        self._messages = components["messages"]
        self._schemas = components["schemas"]
        self._shown: set[str] = set()

    def lines(self, channels: Mapping[str, Any]) -> Iterator[str]:
        for name, channel in channels.items():
            yield from section(_TITLES[name], [])
            for message in channel["messages"]:
                yield from self._message(message)

    def _message(self, name: str) -> Iterator[str]:
        message = self._messages[name]
        if name in self._shown:
            yield f"And [{name}](#{name.lower()}), as it is.\n"
            return
        self._shown.add(name)
        yield f"#### {name}\n"
        if "headers" in message:
            yield f"{message['summary']} AMQP headers, in addition to its own:\n"
            yield from self._fields(self._resolved(message["headers"]))
            return
        yield f"{_code(message['title'])}. {message['summary']}\n"
        schema = self._schemas[name]
        yield from self._fields(schema)
        [example] = message["examples"]
        yield f"```json\n{json.dumps(example['payload'], ensure_ascii=False)}\n```\n"
        for part in self._parts(schema):
            yield f"#### {part}\n"
            yield f"{' '.join(self._schemas[part]['description'].split())}\n"
            yield from self._fields(self._schemas[part])

    def _fields(self, schema: Schema) -> Iterator[str]:
        required = set(schema["required"])
        rows = [
            (
                f"`{name}`{'' if name in required else ' (optional)'}",
                self._type(field),
                field.get("description", ""),
            )
            for name, field in schema["properties"].items()
            if name != "message_type"
        ]
        if rows:
            yield from table(("field", "type", "meaning"), rows)
            yield ""

    def _parts(self, schema: Schema) -> Iterator[str]:
        """Name the objects in the lists of a message."""
        for field in schema["properties"].values():
            if "$ref" in field.get("items", ()):
                yield field["items"]["$ref"].rpartition("/")[2]

    def _type(self, schema: Schema) -> str:
        if "$ref" in schema:
            resolved = self._resolved(schema)
            title = resolved["title"]
            return self._type(resolved) if "enum" in resolved else f"[{title}](#{title.lower()})"
        if "enum" in schema:
            return _listed([f"`{json.dumps(one)}`" for one in schema["enum"] if one is not None])
        if "anyOf" in schema:
            return _listed([self._type(one) for one in schema["anyOf"] if one != {"type": "null"}])
        if schema.get("type") == "array":
            return self._array(schema)
        return _scalar(schema)

    def _array(self, schema: Schema) -> str:
        items = schema["items"]
        if isinstance(items, list):
            return f"[{', '.join(self._type(one) for one in items)}]"
        most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        return f"list{most}: {self._type(items)}"

    def _resolved(self, reference: Schema) -> Any:
        return self._schemas[reference["$ref"].rpartition("/")[2]]


def _scalar(schema: Schema) -> str:
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return _listed(kind)
    if "minLength" in schema:
        return f"{kind} of 1 to {schema['maxLength']} characters"
    return f"{kind}, RFC 3339" if schema.get("format") == "date-time" else str(kind)


def _code(title: str) -> str:
    return " or ".join(f"`{one}`" for one in title.split(" or "))


def _listed(some: list[str]) -> str:
    return " or ".join(some) if len(some) < 3 else f"{', '.join(some[:-1])} or {some[-1]}"
