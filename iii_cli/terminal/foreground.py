"""Who may talk to the terminal: job control for the one COMMAND that we run.

A COMMAND runs in a process group of its own, so that all of it can be stopped. The kernel stops such a
group when it reads the terminal or changes its modes, as `ssh` and `pg_dump` do for a password. Only then
is the terminal lent to it: until then Ctrl-C and Ctrl-Z reach us and the rest of our pipeline as ever.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

from iii_cli.terminal.talk import talk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ("Foreground",)


@final
class Foreground:
    """The controlling terminal, and whether the child's group has it at the moment."""

    def __init__(self, group: int) -> None:
        self.was_lent = False
        self._group = group
        self._wanted = False
        self._modes: list[Any] | None = None
        self._fd: int | None
        try:
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self._fd = None

    @property
    def possible(self) -> bool:
        """Is there a terminal that the child could ask for?"""
        return self._fd is not None

    def stopped(self, signum: int) -> None:
        """The child's group was stopped by `signum`. Stops us too if a person typed Ctrl-Z at the child."""
        if signum in {signal.SIGTTIN, signal.SIGTTOU}:
            self._wanted = True
            self.lend_if_wanted()
        elif signum == signal.SIGTSTP and self._owner() == self._group:
            self._give_to(os.getpgrp())
            os.kill(0, signal.SIGTSTP)  # the whole job stops, as it would without us in between
            self._wanted = True  # running again
            if not self.lend_if_wanted():
                self._continue()

    def lend_if_wanted(self) -> bool:
        """Give the child the terminal that it waits for, if it is ours to give: not while we are in `bg`."""
        if not self._wanted or self._owner() != os.getpgrp():
            return False
        self._wanted = False
        talk.draw()  # a prompt does not begin behind a bar
        self._modes = self._modes or self._read_modes()
        self.was_lent = self._give_to(self._group)
        self._continue()
        return True

    def take_back(self, *, restore: bool) -> None:
        """The child has ended. `restore` the modes too, where it could not: a password prompt hides input."""
        if self._fd is None:
            return
        if self._owner() == self._group:
            self._give_to(os.getpgrp())
        if restore and self.was_lent:
            self._write_modes()
        os.close(self._fd)
        self._fd = None

    def _continue(self) -> None:
        try:
            os.killpg(self._group, signal.SIGCONT)
        except OSError:
            return

    def _owner(self) -> int | None:
        try:
            return None if self._fd is None else os.tcgetpgrp(self._fd)
        except OSError:
            return None

    def _give_to(self, group: int) -> bool:
        assert self._fd is not None
        with _without_sigttou():
            try:
                os.tcsetpgrp(self._fd, group)
            except OSError:
                return False
        return True

    def _read_modes(self) -> list[Any] | None:
        import termios

        assert self._fd is not None
        try:
            return termios.tcgetattr(self._fd)
        except termios.error:
            return None

    def _write_modes(self) -> None:
        import termios

        if self._fd is None or self._modes is None:
            return
        with _without_sigttou():
            try:
                termios.tcsetattr(self._fd, termios.TCSANOW, self._modes)
            except termios.error:
                return


@contextmanager
def _without_sigttou() -> Iterator[None]:
    """A group in the background that touches the terminal is stopped, unless the signal is blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
