"""Decode AGENT_STATUS_UPDATE, the central server's account of who is online.

Nearly all updates are as the contract has them, and a large one must be decoded fast: its entries
are taken a thousand at a time with their types checked by msgspec. Only a thousand with an entry of
another form is taken entry by entry, and only such an entry field by field.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import batched

import msgspec

from broker.core.agent_ids import agent_name, is_agent_id
from broker.core.capabilities import as_capabilities
from broker.core.contract import AgentEntry
from broker.core.flags import Spelled, understood
from broker.core.messages import AgentStatus, Fields, Rejected, RejectReason, StatusUpdate

_SLICE = 1_000
"""Entries that are decoded between two pauses: in about a millisecond."""

_SHOWN_NAMES = 5
_SHOWN_NAME_CHARACTERS = 16
_SHOWN_FLAG_CHARACTERS = 40

_NULL = msgspec.Raw(b"null")


class _LooseEntry(msgspec.Struct, gc=False):
    """An entry with all but the id undecoded, so that a field costs nothing but itself."""

    agent_id: str
    agent_name: msgspec.Raw = _NULL
    is_online: msgspec.Raw = _NULL
    last_seen: msgspec.Raw = _NULL
    capabilities: msgspec.Raw = _NULL


_decode_list = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_decode_entries = msgspec.json.Decoder(list[AgentEntry]).decode
_decode_entry = msgspec.json.Decoder(AgentEntry).decode
_decode_loose_entry = msgspec.json.Decoder(_LooseEntry).decode
_decode_name = msgspec.json.Decoder(str | None).decode
_decode_flag: Callable[[msgspec.Raw], Spelled | None] = msgspec.json.Decoder(Spelled | None).decode
_decode_time = msgspec.json.Decoder(datetime | float | None).decode
_decode_capabilities = msgspec.json.Decoder(list[str] | None).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_MISUNDERSTOOD = ""
"""Stands for a flag of a type in which none is spelled. No flag is spelled like that, either."""


def decoding_status_update(fields: Fields) -> Generator[None, None, StatusUpdate | Rejected]:
    """Decode an AGENT_STATUS_UPDATE in slices, pause between them, and return the update.

    Entries that name no agent, or whose `is_online` cannot be understood, are skipped and counted.
    Capabilities that are no list of names say nothing: the agent keeps those that it had.
    A full update with entries of which none says by `is_online` whether an agent is online is
    refused, since it would take everybody offline.

    A caller in an event loop lets other tasks run at each pause. A thread would not do: no other
    thread runs Python while a large JSON text is decoded.
    """
    try:
        entries = _decode_list(fields.get("agents", _NULL))
    except msgspec.ValidationError as error:
        return _refused(f"`agents`: {error}")
    if entries is None:
        return _refused("`agents` is missing")
    spelled = _flag(fields.get("is_full_update", _NULL))
    is_full = False if spelled is None else understood(spelled)
    if is_full is None:
        return _refused("`is_full_update` must be true or false")
    reading = _Reading()
    for number, some in enumerate(batched(entries, _SLICE, strict=False)):
        if number:
            yield
        reading.take(_typed(some))
    if is_full and entries and not reading.has_flag:
        return _refused(
            f"it is full, but none of {_counted(entries)} says of an agent by `is_online` whether "
            f"it is online; the first {_seen(entries[0])}"
        )
    return StatusUpdate(
        reading.agents,
        is_full=is_full,
        skipped=len(entries) - reading.usable,
        unclear=frozenset(name for name in reading.unclear if name not in reading.agents),
    )


class _Reading:
    """What the entries taken so far say."""

    def __init__(self) -> None:
        self.agents: dict[str, AgentStatus] = {}
        self.unclear: set[str] = set()  # agents with a flag that could not be understood
        self.usable = 0
        self.has_flag = False  # whether a usable entry had one

    def take(self, entries: Iterable[AgentEntry]) -> None:
        """Take more entries; of those about the same agent, the last usable one counts."""
        agents, usable, has_flag = self.agents, self.usable, self.has_flag
        for entry in entries:
            agent_id = entry.agent_id
            if not is_agent_id(agent_id):
                continue
            is_online = entry.is_online
            # Nearly all are booleans, and a call for each of them would be felt.
            if is_online is True or is_online is False:
                has_flag = True
            elif is_online is None:
                is_online = False
            elif (is_online := understood(is_online)) is None:
                self.unclear.add(agent_id)
                continue
            else:
                has_flag = True
            last_seen = entry.last_seen
            agents[agent_id] = AgentStatus(
                agent_id,
                agent_name(entry.agent_name),
                is_online,
                _time(last_seen) if isinstance(last_seen, float) else last_seen,
                None if entry.capabilities is None else as_capabilities(entry.capabilities),
            )
            usable += 1
        self.usable, self.has_flag = usable, has_flag


def _typed(raws: Sequence[msgspec.Raw]) -> Iterable[AgentEntry]:
    try:
        # One call for all of them takes a quarter of the time of a call for each.
        return _decode_entries(b"[%b]" % b",".join(raws))
    except msgspec.ValidationError:
        return _typed_apart(raws)


def _typed_apart(raws: Sequence[msgspec.Raw]) -> Iterator[AgentEntry]:
    for raw in raws:
        try:
            yield _decode_entry(raw)
        except msgspec.ValidationError:
            with suppress(msgspec.ValidationError):  # it names no agent
                yield _salvaged(_decode_loose_entry(raw))


def _salvaged(entry: _LooseEntry) -> AgentEntry:
    salvaged = AgentEntry(entry.agent_id, is_online=_flag(entry.is_online))
    with suppress(msgspec.ValidationError):
        salvaged.agent_name = _decode_name(entry.agent_name)
    with suppress(msgspec.ValidationError):
        salvaged.last_seen = _decode_time(entry.last_seen)
    with suppress(msgspec.ValidationError):
        salvaged.capabilities = _decode_capabilities(entry.capabilities)
    return salvaged


def _flag(raw: msgspec.Raw) -> Spelled | None:
    try:
        return _decode_flag(raw)
    except msgspec.ValidationError:
        return _MISUNDERSTOOD


def _time(seconds: float) -> datetime | None:
    with suppress(OverflowError, OSError, ValueError):  # too far away for a calendar
        return datetime.fromtimestamp(seconds, UTC)
    return None


def _refused(error: str) -> Rejected:
    return Rejected(RejectReason.INVALID_FIELD, error)


def _counted(entries: Sequence[object]) -> str:
    return f"{len(entries)} entries" if len(entries) > 1 else "1 entry"


def _seen(raw: msgspec.Raw) -> str:
    """Describe an entry by its flag, or by the names of its fields; not by what else it says."""
    try:
        entry = _decode_object(raw)
    except msgspec.ValidationError:
        return "is no object"
    if not entry:
        return "is empty"
    if "is_online" in entry and "agent_id" in entry:
        flag = bytes(memoryview(entry["is_online"])[: 4 * _SHOWN_FLAG_CHARACTERS])
        return f"has `is_online`: {_shown(flag.decode(errors='replace'), _SHOWN_FLAG_CHARACTERS)}"
    names = [_shown(name, _SHOWN_NAME_CHARACTERS) for name in list(entry)[:_SHOWN_NAMES]]
    return f"has {', '.join(names)}{', …' if len(entry) > _SHOWN_NAMES else ''}"


def _shown(text: str, characters: int) -> str:
    shown = "".join(one if " " <= one <= "~" else "?" for one in text[:characters])
    return f"{shown}…" if len(text) > characters else shown
