from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast, override

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.core.agent import Agent
from broker.core.last_messages import LastMessages
from broker.core.messages import AgentStatus, Answer, AnswersSeen, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.router.choosing import AT_RANDOM, Choosing, RoutingOptions
from broker.router.decision import Decision
from broker.status.agents import AgentQuery, Sort, agents
from broker.status.http.queries import agent_query, span
from broker.status.model import AgentEntry
from broker.status.rates import Span
from broker.status.vitals import Vitals
from broker.telemetry.tally import MessageOutcome, MessageTally
from tests.core.registries import apply, register

SEEN = datetime(2026, 1, 1, tzinfo=UTC)

CAPABILITIES = st.sets(st.sampled_from(("ocr", "pdf"))).map(lambda some: tuple(sorted(some)))
STATUSES = st.builds(
    AgentStatus,
    st.text("abAB", min_size=1, max_size=3),
    agent_name=st.text("abAB", max_size=3),
    is_online=st.booleans(),
    capabilities=st.none() | CAPABILITIES,
)


def vitals(
    registry: AgentRegistry,
    tally: MessageTally | None = None,
    choosing: Choosing | None = None,
    last_messages: LastMessages | None = None,
) -> Vitals:
    tally = tally or MessageTally()
    choosing = choosing or Choosing(AT_RANDOM, tally, lambda: 0.0)
    last_messages = last_messages or LastMessages(lambda: 0, registry.__contains__)
    router = SimpleNamespace(registry=registry, choosing=choosing, last_messages=last_messages)
    known = SimpleNamespace(router=router, messages=tally)
    return cast("Vitals", cast("Any", known))


def registry(*agents: AgentStatus, kind: type[AgentRegistry] = AgentRegistry) -> AgentRegistry:
    made = kind(max_agents=1_000_000)
    apply(made, StatusUpdate({agent.agent_id: agent for agent in agents}))
    return made


async def ids(known: AgentRegistry, search: str = "", **query: Any) -> tuple[list[str], int]:
    listed = await agents(vitals(known), AgentQuery(search=search, **query))
    assert listed.known == known.known_count
    return [agent.agent_id for agent in listed.agents], listed.matching


async def test_online_ones_come_first_and_then_it_goes_by_name() -> None:
    known = registry(
        AgentStatus("1", "zoe", is_online=True),
        AgentStatus("2", "adam"),
        AgentStatus("3", "Bob", is_online=True),
        AgentStatus("4", "alice", is_online=True),
    )
    assert await ids(known) == (["4", "3", "1", "2"], 4)
    assert await ids(known, limit=2) == (["4", "3"], 4)
    assert await ids(known, limit=2, offset=2) == (["1", "2"], 4)
    assert await ids(known, limit=2, offset=9) == ([], 4)


async def test_a_search_looks_at_ids_and_names_in_any_case() -> None:
    known = registry(
        AgentStatus("agent-X", "Straße", is_online=True), AgentStatus("other", "nobody")
    )
    assert await ids(known, "AGENT-x") == (["agent-X"], 1)
    assert await ids(known, "STRASSE") == (["agent-X"], 1)
    assert await ids(known, "o") == (["other"], 1)
    assert await ids(known, "none such") == ([], 0)


async def test_the_agent_with_the_very_id_comes_first_and_once() -> None:
    known = registry(AgentStatus("a", "z"), *(AgentStatus(f"a{n}", "a") for n in range(3)))
    assert await ids(known, "a", limit=2) == (["a", "a0"], 4)
    assert await ids(known, "a", limit=2, offset=2) == (["a1", "a2"], 4)


async def test_of_very_many_an_id_is_found_all_the_same() -> None:
    crowd = [AgentStatus(f"crowd-{number}", is_online=True) for number in range(150_000)]
    known = registry(*crowd, AgentStatus("needle"))
    assert await ids(known, "needle") == (["needle"], 1)
    assert await ids(known, "needle", online=True) == ([], 0)
    listed, matching = await ids(known, "crowd", limit=5)
    assert len(listed) == 5
    assert matching == 100_000


async def test_a_capability_is_looked_up_and_no_one_else_looked_at() -> None:
    class Crowded(AgentRegistry):
        @property
        @override
        def online(self) -> Sequence[Agent]:
            raise AssertionError("everybody online is looked at")

    known = registry(
        AgentStatus("able", "A", is_online=True, capabilities=("ocr", "pdf")),
        AgentStatus("unable", "B", is_online=True, capabilities=("ocr",)),
        AgentStatus("away", "C", capabilities=("pdf",)),
        kind=Crowded,
    )
    assert await ids(known, capability="pdf", online=True) == (["able"], 1)
    assert await ids(known, capability="pdf") == (["able", "away"], 2)
    assert await ids(known, capability="none such") == ([], 0)


@given(
    known=st.lists(STATUSES, max_size=9, unique_by=lambda status: status.agent_id),
    query=st.builds(
        AgentQuery,
        search=st.text("ab", max_size=2),
        online=st.booleans(),
        offline=st.booleans(),
        sort=st.sampled_from(Sort),
        is_reversed=st.booleans(),
        capability=st.sampled_from(("", "ocr", "pdf")),
        limit=st.integers(1, 4),
    ),
)
def test_the_pages_together_list_exactly_those_that_match(
    known: list[AgentStatus], query: AgentQuery
) -> None:
    known_now = registry(*known)

    async def pages() -> list[AgentEntry]:
        found: list[AgentEntry] = []
        while True:
            page = await agents(vitals(known_now), replace(query, offset=len(found)))
            found += page.agents
            if not page.agents:
                assert page.matching == len(found)
                return found

    found = trio.run(pages)
    wanted = {
        status.agent_id
        for status in known
        if (query.search in status.agent_id.lower() or query.search in status.agent_name.lower())
        and (status.is_online or not query.online)
        and not (status.is_online and query.offline)
        and (not query.capability or query.capability in (status.capabilities or ()))
    }
    assert sorted(agent.agent_id for agent in found) == sorted(wanted)
    rest = found[1:] if found and found[0].agent_id == query.search else found
    names = [(agent.agent_name.lower(), agent.agent_id) for agent in rest]
    if query.sort is Sort.NAME:
        assert names == sorted(names, reverse=query.is_reversed)
    elif query.sort is Sort.STATE:
        states = [agent.is_online is query.is_reversed for agent in rest]
        assert [*zip(states, names, strict=True)] == sorted(zip(states, names, strict=True))
    else:
        assert names == sorted(names), "they have the same value"


async def test_each_value_can_be_sorted_by_and_those_without_it_come_last() -> None:
    known = registry(
        AgentStatus("a", last_seen=SEEN),
        AgentStatus("b", last_seen=SEEN.replace(year=2027, tzinfo=None)),
        AgentStatus("c", last_seen=datetime.min),  # noqa: DTZ901 - servers write what they like
        AgentStatus("d"),
    )
    for receiver in "abb":
        known.count_routed(receiver)
    for sort, in_order, reversed_order in (
        (Sort.LAST_SEEN, "bacd", "cabd"),
        (Sort.ROUTED, "bacd", "cdab"),
        (Sort.NAME, "abcd", "dcba"),
        (Sort.ANSWER, "abcd", "abcd"),
    ):
        assert "".join((await ids(known, sort=sort))[0]) == in_order, sort
        found, _ = await ids(known, sort=sort, is_reversed=True)
        assert "".join(found) == reversed_order, sort


async def test_others_run_while_very_many_are_listed() -> None:
    known = registry(*(AgentStatus(str(number), is_online=True) for number in range(20_000)))
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        listed, _ = await ids(known, offset=19_990)
        nursery.cancel_scope.cancel()
    assert len(listed) == 10
    assert turns >= 40, "for each thousand that are looked at, and that are put in order"


async def test_an_entry_tells_the_share_of_all_routed_messages() -> None:
    known = registry(AgentStatus("a", "A", is_online=True, last_seen=SEEN), AgentStatus("b", "B"))
    tally = MessageTally()
    for receiver in "aab":
        known.count_routed(receiver)
        tally.decided("in", "TEXT", MessageOutcome.ROUTED, redelivered=False)
    first, second = (await agents(vitals(known, tally), AgentQuery())).agents
    assert (first.agent_id, first.routed, first.last_seen) == ("a", 2, SEEN)
    assert first.share == 2 / 3
    assert (second.is_online, second.share) == (False, 1 / 3)


async def test_an_entry_tells_when_an_agent_sent_its_last_message_and_who_told_of_it() -> None:
    known = registry(AgentStatus("a", "A", is_online=True), AgentStatus("c", "C", is_online=True))
    register(known, "b", "B")
    last_messages = LastMessages(lambda: known.known_count, known.__contains__)
    last_messages.begin_batch(SEEN.timestamp())
    last_messages.note("b")
    listed = await agents(vitals(known, last_messages=last_messages), AgentQuery())
    assert [(one.agent_id, one.last_message_at, one.source) for one in listed.agents] == [
        ("a", None, "server"),
        ("b", SEEN, "queue"),
        ("c", None, "server"),
    ]
    query = AgentQuery(sort=Sort.LAST_MESSAGE)
    listed = await agents(vitals(known, last_messages=last_messages), query)
    assert [one.agent_id for one in listed.agents] == ["b", "a", "c"]


async def test_before_anything_is_routed_every_share_is_nothing() -> None:
    known = registry(AgentStatus("a", is_online=True, capabilities=("ocr", "pdf")))
    (entry,) = (await agents(vitals(known), AgentQuery())).agents
    assert entry.share == 0
    assert entry.capabilities == ("ocr", "pdf")
    assert (entry.outstanding, entry.answer_seconds) == (None, None), "as nobody wants to know"


async def test_an_entry_tells_of_answers_while_the_policy_follows_them() -> None:
    known = registry(*(AgentStatus(one, one, is_online=True) for one in "ab"))
    tally, now = MessageTally(), 0.0
    choosing = Choosing(RoutingOptions(policy="least_outstanding"), tally, lambda: now)
    answers = choosing.answers
    assert answers is not None
    for message_id in ("m1", "m2", "m3"):
        routed = Decision("TEXT", MessageOutcome.ROUTED, receiver_id="a", asks=message_id)
        answers.follow(routed)
    now = 1.5
    answers.heard(AnswersSeen([Answer("a", "m1")]))
    first, second = (await agents(vitals(known, tally, choosing), AgentQuery())).agents
    assert (first.outstanding, first.answer_seconds) == (2, 1.5)
    assert (second.outstanding, second.answer_seconds) == (0, None)


class TestQuery:
    def test_without_parameters_all_are_asked_for(self) -> None:
        assert agent_query({}) == AgentQuery()

    def test_each_parameter_has_its_place(self) -> None:
        given = {
            "search": "x" * 300,
            "online": "true",
            "capability": "pdf",
            "sort": "routed",
            "reverse": "true",
            "offset": "100000",
            "limit": "1000",
        }
        assert agent_query(given) == AgentQuery(
            search="x" * 255,
            online=True,
            capability="pdf",
            sort=Sort.ROUTED,
            is_reversed=True,
            offset=100_000,
            limit=1_000,
        )
        assert agent_query({"offline": ""}) == AgentQuery(offline=True)
        assert span({"span": "hour"}) is Span.HOUR
        assert span({}) is Span.MINUTES

    @pytest.mark.parametrize(("text", "online"), [("", True), ("1", True), ("False", False)])
    def test_flags(self, text: str, *, online: bool) -> None:
        assert agent_query({"online": text}).online == online

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"online": "yes?"}, "online must be true or false"),
            ({"online": "", "offline": ""}, "online and offline exclude each other"),
            ({"sort": "size"}, f"sort must be one of {', '.join(Sort)}"),
            ({"sort": ""}, "sort must be one of state, name, .*"),
            ({"capability": "x" * 256}, "capability must have at most 255 characters"),
            *(
                ({"limit": text}, "limit must be a whole number from 1 to 1000")
                for text in ("0", "1001", "many", "-1", "", "1_0", " 1", "\u0661", "9" * 5_000)
            ),
            *(
                ({"offset": text}, "offset must be a whole number from 0 to 100000")
                for text in ("100001", "-1", "", "1e3")
            ),
        ],
    )
    def test_what_is_wrong_is_said_in_a_sentence(
        self, given: Mapping[str, str], problem: str
    ) -> None:
        with pytest.raises(ValueError, match=f"^{problem}$"):
            agent_query(given)
