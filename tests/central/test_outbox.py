from collections.abc import Mapping, Sequence

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from broker.central.outbox import Outbox
from broker.core.messages import AgentStatus, BrokerRegistered, ServerLost, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.router.mailbox import Mail, Mailbox

MUCH = 1000
"""Room for all mail of a test."""

type CentralMail = BrokerRegistered | ServerLost | StatusUpdate

AGENT_IDS = st.sampled_from("abcde")
STATUSES = st.dictionaries(AGENT_IDS, st.booleans(), max_size=5)
UPDATES = st.builds(
    lambda online, is_full: update(online, is_full=is_full), STATUSES, st.booleans()
)
MAIL = st.one_of(UPDATES, st.just(ServerLost()), st.builds(BrokerRegistered, st.text(max_size=2)))


def update(online: Mapping[str, bool], *, is_full: bool = False) -> StatusUpdate:
    agents = {name: AgentStatus(name, is_online=value) for name, value in online.items()}
    return StatusUpdate(agents, is_full=is_full)


def forwarded(batches: Sequence[Sequence[CentralMail]], room: int) -> list[Mail]:
    """Put batches of mail, each while the router is busy, and return what reaches the router."""
    arrived: list[Mail] = []

    async def main() -> None:
        outbox = Outbox()
        mailbox = Mailbox(room)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.forward, mailbox)
            for batch in batches:
                for news in batch:
                    outbox.put(news)
                await wait_all_tasks_blocked()
            while True:
                await wait_all_tasks_blocked()
                try:
                    mail = mailbox.receive_nowait()
                except trio.WouldBlock:
                    break
                arrived.append(mail)
                mailbox.dealt_with(mail)
            nursery.cancel_scope.cancel()

    trio.run(main)
    return arrived


def told(mails: Sequence[Mail]) -> list[tuple[object, frozenset[str]]]:
    """Return who is online at each word that is no update, and at the end."""
    registry = AgentRegistry(max_agents=100)
    told: list[tuple[object, frozenset[str]]] = []
    for mail in [*mails, None]:
        if isinstance(mail, StatusUpdate):
            registry.apply(mail)
        else:
            online = frozenset(agent.agent_id for agent in registry if agent.is_online)
            told.append((mail, online))
    return told


def test_mail_arrives_in_order() -> None:
    mails: list[CentralMail] = [BrokerRegistered("b"), update({"a": True}), ServerLost()]
    assert forwarded([mails], MUCH) == mails
    assert forwarded([[mail] for mail in mails], MUCH) == mails


def test_updates_are_merged_while_the_router_is_busy() -> None:
    updates = [update({"a": True, "b": True}), update({"b": False}), update({"c": True})]
    assert forwarded([updates], 1) == [update({"a": True, "b": False, "c": True})]


def test_updates_are_not_merged_across_other_mail() -> None:
    mails: list[CentralMail] = [update({"a": True}), ServerLost(), update({"a": False})]
    assert forwarded([mails], 1) == mails


def test_what_the_router_has_been_handed_is_not_changed() -> None:
    first, second, third = (update({name: True}) for name in "abc")
    assert forwarded([[first], [second, third]], 1) == [first, second.followed_by(third)]


@given(st.lists(st.lists(MAIL, max_size=8), max_size=4), st.sampled_from([1, 2, MUCH]))
def test_merging_keeps_effect_and_order(batches: list[list[CentralMail]], room: int) -> None:
    put = [mail for batch in batches for mail in batch]
    assert told(forwarded(batches, room)) == told(put)


@given(st.lists(UPDATES, min_size=1, max_size=50))
def test_a_flood_of_updates_takes_little_room(updates: list[StatusUpdate]) -> None:
    assert len(forwarded([updates], 1)) == 1
