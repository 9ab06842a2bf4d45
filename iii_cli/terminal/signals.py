"""Which signals end us, and how. One that was ignored before us stays ignored: `nohup`, a job of a script."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

__all__ = ("end_by_signal", "ends_by_itself", "heard")

STOPPING = ("INT", "TERM", "HUP", "QUIT", "USR2", "ALRM", "XCPU")


def heard(names: tuple[str, ...] = STOPPING) -> list[signal.Signals]:
    """Those of the signals that exist here and were not ignored before us."""
    signals = [getattr(signal, f"SIG{name}") for name in names if hasattr(signal, f"SIG{name}")]
    return [signum for signum in signals if signal.getsignal(signum) is not signal.SIG_IGN]


def ends_by_itself(signum: int) -> bool:
    """After a clean-up we exit with 128+n for INT, TERM and HUP. The others end us by the same signal."""
    return signum not in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_by_signal(signum: int) -> NoReturn:
    """Die of the signal, for whoever waits for us: a core dump where that is usual."""
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)
