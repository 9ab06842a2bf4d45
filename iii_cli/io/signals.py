"""The signals that end us, and what a COMMAND inherits."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

__all__ = ("end_by_signal", "ends_by_itself", "heard", "inherited", "pass_token_on", "withhold")


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


_withheld = {"III_TOKEN"}
_passed_on = False


def withhold(variable: str) -> None:
    """Another variable that holds a token: a context names it."""
    _withheld.add(variable)


def pass_token_on() -> None:
    """`--pass-token`: COMMANDs get everything."""
    global _passed_on
    _passed_on = True


def inherited() -> dict[str, str]:
    """The environment of a COMMAND."""
    env = dict(os.environ)
    if not _passed_on:
        for variable in _withheld:
            env.pop(variable, None)
        if "III_URL" in env:
            from iii_cli.protocol.refs import without_secrets

            env["III_URL"] = without_secrets(env["III_URL"])
    return env
