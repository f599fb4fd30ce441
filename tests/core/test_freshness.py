import math

import pytest

from broker.core.freshness import RegistryFreshness

TTL = 60.0


@pytest.fixture
def freshness() -> RegistryFreshness:
    """A broker that started at 100."""
    return RegistryFreshness(TTL, 100)


def test_unknown_at_first(freshness: RegistryFreshness) -> None:
    assert not freshness.is_fresh(100)


def test_known_by_a_status_update(freshness: RegistryFreshness) -> None:
    freshness.server_connected()
    freshness.status_updated()
    assert freshness.is_fresh(10_000)


def test_the_server_alone_makes_nobody_known(freshness: RegistryFreshness) -> None:
    freshness.server_connected()
    assert not freshness.is_fresh(101)


def test_known_by_a_registration_but_only_for_so_long(freshness: RegistryFreshness) -> None:
    """A registration by queue is not the server's word: without it the registry grows old."""
    freshness.agent_registered()
    assert freshness.expires_at() == 160
    assert freshness.is_fresh(math.nextafter(160, 0))
    assert not freshness.is_fresh(160)


def test_stale_when_the_server_is_gone_for_long(freshness: RegistryFreshness) -> None:
    freshness.server_connected()
    freshness.status_updated()
    assert freshness.expires_at() == math.inf
    freshness.server_lost(1000)
    assert freshness.expires_at() == 1060
    assert freshness.is_fresh(1059.9)
    assert not freshness.is_fresh(1060)
    assert freshness.expires_at() == math.inf, "it is stale already"


def test_a_second_loss_prolongs_nothing(freshness: RegistryFreshness) -> None:
    freshness.server_connected()
    freshness.status_updated()
    freshness.server_lost(1000)
    freshness.server_lost(1050)
    assert freshness.expires_at() == 1060


def test_back_in_time_it_never_went_stale(freshness: RegistryFreshness) -> None:
    freshness.server_connected()
    freshness.status_updated()
    freshness.server_lost(1000)
    assert freshness.is_fresh(1059)
    freshness.server_connected()
    assert freshness.is_fresh(2000)


@pytest.mark.parametrize("word", ["server_connected", "agent_registered"])
def test_only_a_status_update_mends_what_is_stale(freshness: RegistryFreshness, word: str) -> None:
    freshness.server_connected()
    freshness.status_updated()
    freshness.server_lost(1000)
    assert not freshness.is_fresh(1060)
    getattr(freshness, word)()
    freshness.server_connected()
    assert not freshness.is_fresh(1061)
    freshness.status_updated()
    assert freshness.is_fresh(1062)


def test_an_update_counts_also_before_the_server_accepted_the_broker(
    freshness: RegistryFreshness,
) -> None:
    """A server may send the first update before it answers the registration."""
    assert not freshness.is_fresh(500)
    freshness.status_updated()
    assert freshness.is_fresh(500)
    freshness.server_connected()
    assert freshness.is_fresh(501)


def test_a_session_that_was_refused_after_an_update_expires(freshness: RegistryFreshness) -> None:
    freshness.status_updated()
    freshness.server_lost(500)
    assert freshness.is_fresh(559)
    assert not freshness.is_fresh(560)


def test_without_a_limit_it_never_expires() -> None:
    freshness = RegistryFreshness(0, 100)
    assert freshness.expires_at() == math.inf
    assert not freshness.is_fresh(1e9), "but it must be known"
    freshness.status_updated()
    freshness.server_lost(100)
    assert freshness.expires_at() == math.inf
    assert freshness.is_fresh(1e9)
