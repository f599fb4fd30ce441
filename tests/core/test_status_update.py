import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.codec import decode_frame
from broker.core.flags import understood
from broker.core.messages import AgentStatus, Rejected, RejectReason, StatusUpdate
from broker.core.status_update import decoding_status_update
from tests.core.registries import apply, online, registry_with
from tests.core.rejections import MARKER, assert_rejected
from tests.lab.status_update import decode_status_update

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status_update(agents: str, is_full_update: str = "false") -> StatusUpdate:
    update = status_update_or_rejected(
        f'{{"message_type": "AGENT_STATUS_UPDATE", "agents": {agents},'
        f' "is_full_update": {is_full_update}}}'
    )
    assert isinstance(update, StatusUpdate)
    return update


def status_update_or_rejected(text: str) -> StatusUpdate | Rejected:
    frame = decode_frame(text)
    assert not isinstance(frame, Rejected)
    return decode_status_update(frame[1])


def test_a_status_update_names_agents() -> None:
    update = status_update(
        '[{"agent_id": "a", "agent_name": "Ada", "is_online": true,'
        ' "last_seen": "2026-01-01T12:00:00Z", "x": {}},'
        ' {"agent_id": "b", "last_seen": 12},'
        ' {"agent_id": "c", "agent_name": null, "is_online": null, "last_seen": null}]',
        is_full_update="true",
    )

    assert update == StatusUpdate(
        {
            "a": AgentStatus("a", "Ada", is_online=True, last_seen=NOON),
            "b": AgentStatus("b", "Unknown Agent", False, datetime.fromtimestamp(12, UTC)),
            "c": AgentStatus("c", "Unknown Agent", is_online=False, last_seen=None),
        },
        is_full=True,
        skipped=0,
    )


@pytest.mark.parametrize("is_full_update", ["null", "false"])
def test_an_update_is_a_delta_unless_it_says_otherwise(is_full_update: str) -> None:
    assert status_update("[]", is_full_update) == StatusUpdate({})
    assert status_update_or_rejected('{"message_type": "A", "agents": []}') == StatusUpdate({})


@pytest.mark.parametrize(
    "entry",
    [
        *["{}", "null", "5", "[]", '"a"', '{"agent_name": "Ada", "is_online": true}'],
        *['{"agent_id": null}', '{"agent_id": ""}', '{"agent_id": 5}'],
        '{"agent_id": "a\\u0007"}',
        '{"agent_id": "a\u009b"}',
        pytest.param(f'{{"agent_id": "{"a" * 10_000}"}}', id="10-kB-id"),
    ],
)
def test_unusable_entries_are_skipped_and_the_rest_applies(entry: str) -> None:
    update = status_update(f'[{entry}, {{"agent_id": "b", "is_online": true}}, {entry}]')

    assert update == StatusUpdate({"b": AgentStatus("b", is_online=True)}, skipped=2)


@pytest.mark.parametrize(
    "unusable",
    [
        '"agent_name": 5',
        '"last_seen": {}',
        '"last_seen": "noon"',
        '"last_seen": 1e999',
        '"last_seen": 1e300',
        '"last_seen": -1e15',
    ],
)
def test_what_routing_can_do_without_may_be_unusable(unusable: str) -> None:
    update = status_update(f'[{{"agent_id": "a", "is_online": true, {unusable}}}]')

    assert update == StatusUpdate({"a": AgentStatus("a", is_online=True)})


def test_an_unusable_field_costs_no_other() -> None:
    update = status_update(
        '[{"agent_id": "a", "agent_name": "Ada", "last_seen": "noon"},'
        ' {"agent_id": "b", "agent_name": 5, "last_seen": "2026-01-01T12:00:00Z"}]'
    )

    assert update == StatusUpdate(
        {"a": AgentStatus("a", "Ada"), "b": AgentStatus("b", last_seen=NOON)}
    )


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ('["tables", "sums", "tables"]', ("sums", "tables")),
        ("[]", ()),
        ("null", None),
        *(
            (unusable, None)
            for unusable in ('"sums"', "5", "{}", '["sums", 5]', '[""]', '["a\\n"]')
        ),
        pytest.param(json.dumps(["x" * 256]), None, id="a-long-name"),
        pytest.param(json.dumps([str(number) for number in range(65)]), None, id="many-names"),
        pytest.param('["\\ud83d"]', ("\N{REPLACEMENT CHARACTER}",), id="half-an-emoji"),
    ],
)
def test_what_an_agent_can_do_is_a_set_or_nothing_is_said_of_it(
    capabilities: str, expected: tuple[str, ...] | None
) -> None:
    update = status_update(
        f'[{{"agent_id": "a", "is_online": true, "capabilities": {capabilities}}},'
        ' {"agent_id": "b", "is_online": true}]'
    )

    assert update == StatusUpdate(
        {
            "a": AgentStatus("a", is_online=True, capabilities=expected),
            "b": AgentStatus("b", is_online=True),
        }
    )


def test_a_large_update_is_decoded_in_slices() -> None:
    agents = {str(number): AgentStatus(str(number), is_online=True) for number in range(2_500)}
    entries = ",".join(f'{{"agent_id": "{name}", "is_online": true}}' for name in agents)
    frame = decode_frame(f'{{"message_type": "A", "agents": [{entries}]}}')
    assert not isinstance(frame, Rejected)

    decoding = decoding_status_update(frame[1])

    assert [next(decoding) for _ in range(2)] == [None] * 2
    with pytest.raises(StopIteration) as decoded:
        next(decoding)
    assert decoded.value.value == StatusUpdate(agents)


def test_an_agent_named_twice_is_as_named_last_and_not_skipped() -> None:
    update = status_update(
        '[{"agent_id": "a", "is_online": true}, {}, {"agent_id": "a", "agent_name": "Ada"}]'
    )

    assert update == StatusUpdate({"a": AgentStatus("a", "Ada")}, skipped=1)


@pytest.mark.parametrize(
    "fields",
    [
        '"x": 1',
        '"agents": null',
        f'"agents": {{"{MARKER}": 1}}',
        f'"agents": "{MARKER}"',
        f'"agents": [], "is_full_update": "{MARKER}"',
        '"agents": [], "is_full_update": 2',
        '"agents": [], "is_full_update": []',
    ],
)
def test_an_update_without_a_list_of_agents_is_refused(fields: str) -> None:
    result = status_update_or_rejected(f'{{"message_type": "A", {fields}}}')

    assert_rejected(result, RejectReason.INVALID_FIELD)


def test_an_agent_that_one_entry_is_clear_about_is_not_unclear() -> None:
    entries = [
        '{"agent_id": "a", "is_online": true}',
        '{"agent_id": "a", "is_online": "maybe"}',
        '{"agent_id": "b", "is_online": {}}',
        '{"agent_id": "b"}',
        '{"agent_id": "c", "is_online": 7}',
    ]

    assert status_update(f"[{','.join(entries)}]", "true") == StatusUpdate(
        {"a": AgentStatus("a", is_online=True), "b": AgentStatus("b")},
        is_full=True,
        skipped=3,
        unclear=frozenset("c"),
    )


# Whatever a server may write: junk in any place of any entry.

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8)  # lone surrogates, too
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda items: st.lists(items, max_size=3) | st.dictionaries(TEXTS, items, max_size=3),
    max_leaves=5,
)
AGENT_IDS = st.sampled_from("abcdef")
FLAGS = st.sampled_from([True, False, 1, 0, "true", "False", "1", "yes", None]) | JUNK
ENTRIES = (
    st.fixed_dictionaries(
        {"agent_id": AGENT_IDS},
        optional={"agent_name": JUNK, "is_online": FLAGS, "last_seen": JUNK, "more": JUNK},
    )
    | st.dictionaries(st.sampled_from(["agent_id", "is_online"]) | TEXTS, JUNK, max_size=3)
    | JUNK
)


def flag_of(entry: Any) -> bool | None:
    """Whether an entry says that its agent is online; None when it says nothing of an agent."""
    if not isinstance(entry, Mapping) or entry.get("agent_id") not in [*"abcdef"]:
        return None
    flag = entry.get("is_online")
    if flag is None:
        return False
    if isinstance(flag, int | float) and flag not in (0, 1):
        return None
    return understood(flag) if isinstance(flag, bool | int | float | str) else None


@given(known=st.sets(AGENT_IDS), entries=st.lists(ENTRIES, max_size=6), is_full=st.booleans())
@example(known={"a"}, entries=[{"agent_id": "a", "is_online": "\ud83d"}], is_full=True)
@example(known={"a"}, entries=[{"agent_id": "a\ud83d", "is_online": True}], is_full=True)
def test_any_entries_change_only_agents_that_are_understood(
    known: set[str], entries: list[Any], is_full: bool
) -> None:
    registry = registry_with(*known)
    frame = {"message_type": "A", "agents": entries, "is_full_update": is_full}
    update = status_update_or_rejected(json.dumps(frame))
    understood_of = {
        entry["agent_id"]: says for entry in entries if (says := flag_of(entry)) is not None
    }
    named = {
        entry["agent_id"]
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("agent_id") in [*"abcdef"]
    }

    if isinstance(update, Rejected):
        assert is_full
        assert entries
        assert not any(
            flag_of(entry) is not None and entry.get("is_online") is not None for entry in entries
        )
        assert_rejected(update, RejectReason.INVALID_FIELD)
        return
    apply(registry, update)

    assert len(update.agents) <= len(entries) - update.skipped
    for agent_id in "abcdef":
        is_online = agent_id in online(registry)
        if agent_id in understood_of:
            assert is_online == understood_of[agent_id]
        elif agent_id in named:
            assert (agent_id in registry) == is_online == (agent_id in known)
            assert agent_id not in known or registry[agent_id].agent_name == agent_id.upper()
        elif agent_id in known:
            assert is_online != is_full
