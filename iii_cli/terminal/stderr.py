"""Standard error, which may be a terminal that a person has stopped, or a pipe that nobody empties.

What is said there must never hold up the data: a line is taken at once, kept in a bounded buffer while it
does not fit, and given up, and counted, when nothing reads for longer than a moment.
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING, final

from iii_cli.terminal.descriptors import Kind
from iii_cli.terminal.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Stderr",)

BACKLOG_BYTES = 64 << 10  # as much again as a pipe of the usual size holds
PATIENCE = 1.0  # seconds that a full backlog may hold us up, once: a slow reader keeps up, a stalled one not


@final
class Stderr:
    """Writes to descriptor 2 without ever raising: there is nobody left to tell."""

    def __init__(self, fd: int = 2, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd = fd
        self._clock = clock
        self._outlet: Outlet | None = None
        self._gone = False
        self._stalled = False
        self._backlog = bytearray()
        self._lost = 0

    @property
    def is_terminal(self) -> bool:
        """Does a person read this, as it comes?"""
        outlet = self._open()
        return outlet is not None and outlet.kind is Kind.TERMINAL

    @property
    def columns(self) -> int:
        """The width of the terminal, 80 where it does not say."""
        try:
            return os.get_terminal_size(self._fd).columns or 80
        except OSError:
            return 80

    @property
    def rows(self) -> int:
        """The height of the terminal, 24 where it does not say."""
        try:
            return os.get_terminal_size(self._fd).lines or 24
        except OSError:
            return 24

    @property
    def is_ours(self) -> bool:
        """May we draw on the terminal? Not from the background, over a pager, or over a password prompt."""
        if not hasattr(os, "tcgetpgrp"):  # Windows has no jobs
            return True
        try:
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                return False
        except OSError:
            pass  # not the terminal of our session: nobody else's jobs are on it either
        return _is_plain(self._fd)

    @property
    def is_idle(self) -> bool:
        """Has everything that was written left us? A drawing that is not urgent waits for that."""
        self._push()
        return not self._backlog

    def write(self, text: str) -> None:
        """Take whole lines. Returns at once, or within a second if the backlog is full and nothing reads."""
        if self._fd == 2 and sys.stderr is not sys.__stderr__ and sys.stderr is not None:
            _hand_over(text)
            return
        data = text.encode(errors="replace")
        if len(self._backlog) + len(data) > BACKLOG_BYTES and not self._make_room(len(data)):
            self._lost += text.count("\n")
            return
        self._backlog += data
        self._push()

    def drain(self, seconds: float = PATIENCE) -> None:
        """Wait until everything has left us, for `seconds` at most: before the process ends."""
        deadline = self._clock() + seconds
        while not self.is_idle:
            left = deadline - self._clock()
            if left <= 0 or not self._wait(left):
                return

    def _make_room(self, size: int) -> bool:
        """Wait for a reader that is slow. One that has stalled is not waited for again until it moves."""
        deadline = self._clock() + PATIENCE
        while True:
            before = len(self._backlog)
            self._push()
            self._stalled = self._stalled and len(self._backlog) == before
            if not self._backlog or len(self._backlog) + size <= BACKLOG_BYTES:
                return True
            left = deadline - self._clock()
            if self._stalled or left <= 0 or not self._wait(left):
                self._stalled = True
                return False

    def _push(self) -> None:
        """Write what fits."""
        outlet = self._open()
        if outlet is None:
            self._backlog.clear()
            return
        try:
            while self._backlog:
                with memoryview(self._backlog) as view:
                    count = outlet.offer(view)
                del self._backlog[:count]
                if not self._backlog and self._lost:
                    lost, self._lost = self._lost, 0
                    self._backlog += f"iii: {lost} lines are missing here, nobody read them\n".encode()
        except BlockingIOError:
            return
        except OSError:
            self._gone = True
            self._backlog.clear()

    def _open(self) -> Outlet | None:
        if self._outlet is None and not self._gone:
            try:
                self._outlet = Outlet(self._fd)
            except OSError:
                self._gone = True
        return None if self._gone else self._outlet

    def _wait(self, seconds: float) -> bool:
        outlet = self._open()
        if outlet is None:
            return False
        poll = select.poll()
        poll.register(outlet.ready_fd, select.POLLOUT)
        return bool(poll.poll(max(1, int(seconds * 1000))))


def _is_plain(fd: int) -> bool:
    """Does the terminal edit lines and echo them? Whoever changes that has the whole screen, or asks for a
    secret.
    """
    import termios

    try:
        modes: int = termios.tcgetattr(fd)[3]
    except termios.error:
        return True
    return bool(modes & termios.ICANON and modes & termios.ECHO)


def _hand_over(text: str) -> None:
    """Someone else wants to have it: a test, a program that runs us inside."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return
