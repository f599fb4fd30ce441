from datetime import datetime

from broker.status.pauses import Pauses


def test_a_pause_lasts_since_it_was_first_seen() -> None:
    pauses = Pauses()

    def seen(*, is_paused: bool) -> datetime | None:
        pauses.look(is_paused=is_paused)
        return pauses.since

    assert seen(is_paused=False) is None
    since = seen(is_paused=True)
    assert since is not None
    assert seen(is_paused=True) == since
    assert seen(is_paused=False) is None
    later = seen(is_paused=True)
    assert later is not None
    assert later > since
