"""Which signals end us and how, and what a COMMAND inherits. One that was ignored before us stays ignored.

From `take_over` on there is one rule. Our handler is always in place, or an event loop's (`receiving`), and
where one takes the place of the other the signals are blocked. The first signal ends what is under way: by
an exception, which no clean-up on its way swallows, or by the event loop. Every further one, and each that
comes while we say how we end, ends the process at once and quietly: a second exception in the handling of
the first would be a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import FrameType

__all__ = (
    "came",
    "end_by_signal",
    "ends_by_itself",
    "heard",
    "held",
    "inherited",
    "note",
    "pass_token_on",
    "receiving",
    "stop_at_once",
    "take_over",
    "withhold",
)


_came: list[int] = []

# What an exit that does not wait does still, where it was loaded.
LAST_ACTS = (
    ("iii_cli.io.process", "kill_children"),
    ("iii_cli.io.outfile", "discard_unfinished"),
)
STOPPING = ("INT", "TERM", "HUP", "QUIT", "USR2", "ALRM", "XCPU")


def heard(names: tuple[str, ...] = STOPPING) -> list[signal.Signals]:
    """Those of the signals that exist here and were not ignored before us."""
    signals = [getattr(signal, f"SIG{name}") for name in names if hasattr(signal, f"SIG{name}")]
    return [signum for signum in signals if signal.getsignal(signum) is not signal.SIG_IGN]


def take_over() -> None:
    """Hear of every signal that ends us, for the rest of the program's life."""
    for signum in heard():
        signal.signal(signum, _stop)
    sys.unraisablehook = _not_swallowed


def note(signum: int) -> None:
    """A signal has come: we are ending, and a further one does not wait for that. 0: for another reason."""
    if came() is None:
        _came.append(signum)


def came() -> int | None:
    """The first signal that ends us; 0 where we end for another reason, None where we do not yet."""
    return _came[0] if _came else None


def stop_at_once(signum: int) -> NoReturn:
    """End without any clean-up, but leave no COMMAND, not even one that ignores SIGTERM, and no file."""
    try:
        for module, act in LAST_ACTS:
            with suppress(Exception):  # which may be amid the very thing
                getattr(sys.modules[module], act)()
    finally:
        os._exit(128 + signum)


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Keep signals that end us until they are let go, once somebody listens, or until the end.

    One that came amid the loading of a module could make a RuntimeError of it, and one amid the start of the
    event loop be lost.
    """
    change = getattr(signal, "pthread_sigmask", None)
    if change is None:  # Windows
        yield lambda: None
        return
    before = change(signal.SIG_BLOCK, heard())

    def let_go() -> None:
        change(signal.SIG_SETMASK, before)

    try:
        yield let_go
    finally:
        let_go()


@contextmanager
def receiving(wanted: Iterable[signal.Signals]) -> Iterator[AsyncIterator[signal.Signals]]:
    """The signals, as they come to the event loop. Afterwards the program does about them what it did before:
    an event loop leaves the default behind, which kills. They are blocked for as long as that is so.
    """
    import anyio

    wanted = list(wanted)
    before = {signum: signal.getsignal(signum) for signum in wanted}
    change = getattr(signal, "pthread_sigmask", lambda how, signals: ())
    mask = change(signal.SIG_BLOCK, ())
    try:
        with anyio.open_signal_receiver(*wanted) as signals:
            try:
                yield signals
            finally:
                change(signal.SIG_BLOCK, wanted)
    finally:
        for signum, handler in before.items():
            if handler is not None:  # None: set by C code
                signal.signal(signum, handler)
        change(signal.SIG_SETMASK, mask)


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Where no event loop listens. SystemExit: whoever catches failures does not catch that."""
    if came() is not None:
        stop_at_once(signum)
    note(signum)
    raise SystemExit(128 + signum)


def _not_swallowed(unraisable: sys.UnraisableHookArgs) -> None:
    """Where Python cannot raise, in a finalizer or in its own import lock, our exception would be lost."""
    if issubclass(unraisable.exc_type, SystemExit) and (signum := came()):
        stop_at_once(signum)
    sys.__unraisablehook__(unraisable)


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
