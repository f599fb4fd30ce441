"""The default command, `broker run`: from settings to the service."""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from broker.telemetry.one_line import complain


def run(given: Mapping[str, str] = MappingProxyType({})) -> int:
    """Run the broker until SIGINT, SIGTERM or SIGHUP.

    Args:
        given: What the command line gives, by field name; see `load_settings`.

    Returns:
        The exit code: the service's, or 2 for a wrong configuration.
    """
    # Signals that come before the service takes them wait until then: all that is loaded from here
    # on takes a moment, and a container's first process would not even notice a SIGTERM.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        return _run(given)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(given: Mapping[str, str]) -> int:
    from broker.settings import SettingsError, load_settings  # noqa: PLC0415 - see above

    try:
        settings = load_settings(given)
    except SettingsError as error:
        return complain(*error.problems)
    with _hidden("rich"):  # structlog loads it for tracebacks that nobody asks it for: 5 MiB
        from broker.service import run as serve  # noqa: PLC0415 - slow, not for a wrong start
    return serve(settings)


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make imports of a module fail as if it were not installed."""
    loaded = sys.modules.pop(module, None)
    sys.modules[module] = None  # type: ignore[assignment]  # Python's own mark for that
    try:
        yield
    finally:
        del sys.modules[module]
        if loaded is not None:
            sys.modules[module] = loaded
