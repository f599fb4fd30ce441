"""Signal dispositions that child processes start with.

A shell without job control starts its background commands with SIGINT and SIGQUIT ignored, `nohup`
ignores SIGHUP, and every descendant inherits that. A child that is to be interrupted must not.
"""

import signal
from typing import Final

# Handling one of these would turn a stop into an interrupted system call, repeated at once.
_JOB_CONTROL: Final = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
# Python ignores these itself, and `subprocess` restores them for the child.
_RESTORED: Final = {signal.SIGPIPE, signal.SIGXFSZ}


def use_default_dispositions_in_children() -> None:
    """Start children with no signal ignored or blocked from now on.

    This process itself keeps ignoring what it ignored or blocked. To be called in its main thread.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    for number in signal.valid_signals() - _JOB_CONTROL - _RESTORED:
        if number in blocked or signal.getsignal(number) is signal.SIG_IGN:
            # A handler, unlike SIG_IGN or a blocked mask, is not inherited by what is executed.
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
