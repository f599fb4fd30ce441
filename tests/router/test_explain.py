import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.amqp import Delivery, Refusals
from broker.core.agent import Agent
from broker.core.hops import Hop, HopCounter
from broker.core.messages import (
    AgentStatus,
    Answer,
    AnswersSeen,
    Rejected,
    StatusUpdate,
)
from broker.core.registry import AgentRegistry
from broker.core.routing.policy import Policy
from broker.core.routing.receivers import ReceiverRule
from broker.router.choosing import Choosing, RoutingOptions
from broker.router.decide import Decider
from broker.router.decision import Decision
from broker.router.explain import Basis, explain
from broker.router.explanation import Explanation, Filter, PolicyView
from broker.router.holding import Holding
from broker.router.rules import Limits
from broker.telemetry.tally import DEAD_LETTERED, MessageOutcome, MessageTally
from tests.core.registries import apply, status_update
from tests.router.samples import QUEUES, chat

MAX_BYTES = 1000
IDS = st.sampled_from("abcd")
CAPABILITIES = st.sets(st.sampled_from(("ocr", "pdf"))).map(sorted).map(tuple)
STATUSES = st.builds(AgentStatus, IDS, is_online=st.booleans(), capabilities=CAPABILITIES)


class Desk:
    """What messages are decided by, and a decider that does."""

    def __init__(
        self,
        *online: str,
        policy: str | Policy = "random",
        rule: ReceiverRule = ReceiverRule.IGNORE,
        max_hops: int = 0,
        hold: float = 0.0,
    ) -> None:
        self.now = 0.0
        self.tally = MessageTally()
        options = RoutingOptions(policy=policy, receiver=rule)
        self.choosing = Choosing(options, self.tally, lambda: self.now)
        self.registry = AgentRegistry(max_agents=9, watchers=self.choosing.watchers)
        apply(self.registry, status_update(*online))
        self.basis = Basis(
            topology=QUEUES,
            registry=self.registry,
            hops=HopCounter(),
            limits=Limits(MAX_BYTES, max_agents=9, max_hops=max_hops),
            refusals=Refusals(),
            choosing=self.choosing,
            holding=Holding(hold, lambda: round(self.now * 1_000)),
        )

    def enter(self, *statuses: AgentStatus) -> None:
        apply(self.registry, StatusUpdate({status.agent_id: status for status in statuses}))

    def ask(self, agent_id: str, *message_ids: str) -> None:
        """Let an agent be sent messages."""
        assert self.choosing.answers is not None
        for message_id in message_ids:
            routed = Decision("TEXT", MessageOutcome.ROUTED, receiver_id=agent_id, asks=message_id)
            self.choosing.answers.follow(routed)

    def explain(self, body: bytes) -> Explanation:
        return explain(body, self.basis)

    def decide(self, body: bytes) -> Decision:
        decider = Decider(
            topology=QUEUES,
            registry=self.registry,
            hops=self.basis.hops,
            broker_id="broker_0001",
            limits=self.basis.limits,
            refusals=self.basis.refusals,
            routing=self.choosing.routing,
            holding=self.basis.holding,
        )
        return decider.decide(Delivery("in", 1, body))


@given(
    known=st.lists(STATUSES, max_size=4, unique_by=lambda status: status.agent_id),
    sender_id=IDS | st.just("nobody"),
    receiver_id=st.none() | IDS,
    required=CAPABILITIES,
    rule=st.sampled_from(ReceiverRule),
    policy=st.sampled_from(("random", "least_outstanding", "consistent_hash")),
)
def test_it_says_what_would_be_decided(
    *,
    known: list[AgentStatus],
    sender_id: str,
    receiver_id: str | None,
    required: tuple[str, ...],
    rule: ReceiverRule,
    policy: str,
) -> None:
    desk = Desk(policy=policy, rule=rule)
    desk.enter(*known)
    body = chat(sender_id, receiver_id=receiver_id, required_capabilities=required)

    explanation = desk.explain(body)
    decisions = [desk.decide(body) for _ in range(3)]

    assert {decision.verdict for decision in decisions} == {MessageOutcome(explanation.outcome)}
    if explanation.receiver_id is not None:
        receivers = {decision.receiver_id for decision in decisions}
        assert receivers == {explanation.receiver_id}
    candidates = 0 if explanation.policy is None else explanation.policy.candidates
    if explanation.outcome == "routed":
        assert explanation.filters[-1].left == candidates or explanation.receiver_id == receiver_id
        assert (explanation.receiver_id is None) <= (candidates > 1)
    else:
        assert explanation.filters[-1].left == candidates == 0


def test_nothing_is_changed() -> None:
    desk = Desk("ann", "ben", policy="least_outstanding", max_hops=3)
    asked = chat("ann", message_id="m1")
    for _ in range(5):
        assert desk.explain(asked).outcome == "routed"
    assert [agent.routed for agent in desk.registry] == [0, 0]
    assert desk.choosing.unanswered_count == 0
    assert sum(desk.tally.policy_seconds.counts) == desk.tally.received.total() == 0
    assert desk.decide(chat("ben", message_id="m2", in_reply_to="m1")).hop == Hop(1, "m2")


class TestFilters:
    def filters(
        self, *, rule: ReceiverRule = ReceiverRule.IGNORE, receiver_id: str = "", required: str = ""
    ) -> Sequence[Filter]:
        desk = Desk(rule=rule)
        desk.enter(
            AgentStatus("ann", is_online=True, capabilities=("ocr", "pdf")),
            AgentStatus("ben", is_online=True, capabilities=("pdf",)),
            AgentStatus("cho", is_online=True),
            AgentStatus("dan", capabilities=("pdf",)),
        )
        message = chat("ann", receiver_id=receiver_id, required_capabilities=required.split())
        return desk.explain(message).filters

    def test_those_online_without_the_sender(self) -> None:
        assert self.filters() == [Filter("online", 3), Filter("not_sender", 2)]

    def test_capabilities_from_the_rarest_on(self) -> None:
        assert self.filters(required="pdf ocr")[2:] == [
            Filter("capability", 0, "ocr"),
            Filter("capability", 0, "pdf"),
        ]
        assert self.filters(required="pdf")[2:] == [Filter("capability", 1, "pdf")]

    def test_a_receiver_that_is_ignored_is_none(self) -> None:
        assert len(self.filters(receiver_id="ben")) == 2

    @pytest.mark.parametrize("rule", [ReceiverRule.PREFER, ReceiverRule.REQUIRE])
    def test_a_receiver_that_may_have_it_is_the_only_one(self, rule: ReceiverRule) -> None:
        assert self.filters(rule=rule, receiver_id="ben", required="pdf")[2:] == [
            Filter("receiver", 1, "ben"),
            Filter("capability", 1, "pdf"),
        ]

    @pytest.mark.parametrize(
        ("receiver_id", "problem"), [("eve", "unknown"), ("ann", "is_sender"), ("dan", "offline")]
    )
    def test_why_a_receiver_may_not_have_it(self, receiver_id: str, problem: str) -> None:
        preferred, required = (
            self.filters(rule=rule, receiver_id=receiver_id)[2]
            for rule in (ReceiverRule.PREFER, ReceiverRule.REQUIRE)
        )
        assert (preferred.left, preferred.problem) == (2, problem)
        assert (required.left, required.problem) == (0, problem)

    def test_what_a_receiver_lacks(self) -> None:
        assert self.filters(rule=ReceiverRule.REQUIRE, receiver_id="cho", required="pdf")[2:] == [
            Filter("receiver", 1, "cho"),
            Filter("capability", 0, "pdf"),
        ]
        assert self.filters(rule=ReceiverRule.PREFER, receiver_id="cho", required="pdf")[2:] == [
            Filter("receiver", 2, "cho", "not_capable"),
            Filter("capability", 1, "pdf"),
        ]


class TestPolicy:
    def test_random(self) -> None:
        explanation = Desk("ann", "ben", "cho").explain(chat("ann"))
        assert explanation.policy == PolicyView("random", 2)
        assert explanation.receiver_id is None

    def test_least_outstanding(self) -> None:
        desk = Desk("ann", "ben", policy="least_outstanding")
        desk.ask("ann", "m1", "m2", "m3")
        desk.now = 4.0
        assert desk.choosing.answers is not None
        desk.choosing.answers.heard(AnswersSeen([Answer("ann", "m1")]))
        view = desk.explain(chat("nobody")).policy
        assert view is not None
        assert view.candidates == 2
        ben, ann = view.compared
        assert (ben.agent_id, ben.cost, ben.outstanding) == ("ben", 0.0, 0)
        assert (ben.answer_seconds, ben.waiting_seconds) == (None, None)
        assert (ann.agent_id, ann.cost, ann.outstanding) == ("ann", 16.0, 2), (
            "and one of the others"
        )
        assert (ann.answer_seconds, ann.waiting_seconds) == (4.0, 4.0)
        assert not ann.is_silent

    def test_one_that_has_never_answered(self) -> None:
        desk = Desk("ann", policy="least_outstanding")
        desk.ask("ann", "m1")
        desk.now = 301.0
        desk.ask("ann", "m2")
        explanation = desk.explain(chat("nobody"))
        assert explanation.policy is not None
        assert [cost.is_silent for cost in explanation.policy.compared] == [True]
        assert explanation.receiver_id == "ann", "as there is no one else"

    def test_consistent_hash(self) -> None:
        desk = Desk(*"abcdef", policy="consistent_hash")
        talking = chat("nobody", conversation_id="c-1")
        explanation = desk.explain(talking)
        view = explanation.policy
        assert view is not None
        assert view.place is not None
        assert view == PolicyView("consistent_hash", 6, key="c-1", place=view.place)
        assert explanation.receiver_id == desk.decide(talking).receiver_id == view.place.agent_id
        assert 0 < view.place.at < view.place.point < view.place.at + 0.1 < 1
        without = desk.explain(chat("a")).policy
        assert without is not None
        assert (without.candidates, without.key) == (5, "a")

    def test_one_of_the_users_own_is_named_and_not_called(self) -> None:
        def first_come(*_: object) -> Agent:
            raise AssertionError

        explanation = Desk("ann", policy=first_come).explain(chat("nobody"))
        view = explanation.policy
        assert view is not None
        assert view.name == f"{__name__}:{first_come.__qualname__}"
        assert (view.candidates, view.is_known) == (1, False)
        assert explanation.receiver_id is None, "it may refuse"

    def test_an_object_goes_by_its_class(self) -> None:
        class Mine:
            def __call__(self, *_: object) -> Agent:
                raise AssertionError

        view = Desk("ann", policy=Mine()).explain(chat("nobody")).policy
        assert view is not None
        assert view.name == f"{__name__}:{Mine.__qualname__}"


class TestWithoutReceiver:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"no JSON", "invalid_json"),
            (b"x" * (MAX_BYTES + 1), "too_large"),
            (chat(required_capabilities=[""]), "invalid_field"),
        ],
    )
    def test_a_dead_letter_says_why(self, body: bytes, reason: str) -> None:
        desk = Desk("ann")
        rejected = desk.decide(body).verdict
        assert isinstance(rejected, Rejected)
        assert desk.explain(body) == Explanation(DEAD_LETTERED, reason=reason, error=rejected.error)

    def test_it_would_wait_for_somebody_first(self) -> None:
        desk = Desk("ann", hold=30.0)
        assert desk.decide(chat("ann")).verdict is MessageOutcome.HELD
        explanation = desk.explain(chat("ann"))
        assert (explanation.outcome, explanation.held_seconds) == ("only_sender_online", 30.0)
        assert desk.explain(chat("nobody")).held_seconds is None
        assert desk.basis.holding.earliest == math.inf, "nothing is held"

    def test_what_gets_too_large_for_rabbitmq(self) -> None:
        desk = Desk("ann")
        body = chat("nobody")
        desk.basis.refusals.max_message_size = len(body)
        explanation = desk.explain(body)
        assert (explanation.outcome, explanation.reason) == (DEAD_LETTERED, "too_large")

    def test_too_many_answers_in_a_row(self) -> None:
        desk = Desk("ann", "ben", max_hops=2)
        desk.basis.hops.remember(Hop(2, "m1"))
        explanation = desk.explain(chat("ann", message_id="m2", in_reply_to="m1"))
        assert explanation.reason == "too_many_hops"

    def test_an_error_is_forwarded(self) -> None:
        assert Desk().explain(b'{"message_type":"ERROR"}') == Explanation("forwarded")
