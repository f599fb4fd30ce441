"""The signals that ask a process to stop."""

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals to stop at.

    SIGHUP is among them, as it says that the terminal is gone, unless it is ignored: `nohup` starts
    a process that way so that it survives its terminal. Call it before a handler is installed.
    """
    always = (signal.SIGINT, signal.SIGTERM)
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return always if is_ignored else (*always, signal.SIGHUP)
