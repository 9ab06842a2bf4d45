"""File descriptors: which they are, how they are used without waiting, how many there may be."""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import sys
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = (
    "PIPE_BUF",
    "Descriptor",
    "Kind",
    "allow_open_files",
    "descriptor_named",
    "is_ready",
    "is_standard",
    "kind_of",
    "reserve_descriptors",
)


PIPE_BYTES = 1 << 20  # what an unprivileged process may ask for; 64 KiB, the default, halves the rate

_NAMES = {"stdin": 0, "stdout": 1, "stderr": 2}
_NAMED = re.compile(r"/dev/(?P<name>stdin|stdout|stderr)|(?:/dev/fd|/proc/self/fd)/(?P<number>\d{1,9})")


class Kind(Enum):
    """How a descriptor wants to be waited for."""

    FILE = "file"  # never blocks for long, and epoll refuses it
    BLOCK = "block device"
    PIPE = "pipe"
    SOCKET = "socket"
    TERMINAL = "terminal"
    DEVICE = "device"


def kind_of(fd: int) -> Kind:
    """What is behind `fd`. Raises OSError (EBADF) where there is nothing."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return Kind.PIPE
    if stat.S_ISSOCK(mode):
        return Kind.SOCKET
    if stat.S_ISCHR(mode):
        return Kind.TERMINAL if os.isatty(fd) else Kind.DEVICE
    return Kind.BLOCK if stat.S_ISBLK(mode) else Kind.FILE


PIPE_BUF = 4096  # what a writable pipe takes without blocking (pipe(7))


class Descriptor:
    """A descriptor that is used without ever holding up the event loop. Closes only what it owns.

    O_NONBLOCK is never set on what was given to us: it belongs to the open file, which the shell shares. A
    pipe and a terminal are opened once more instead. Where that cannot be done (no /proc, another user's, a
    FIFO that has no writer yet) a look comes before each use, and a write gives no more than a pipe takes.
    """

    def __init__(self, fd: int, *, owned: bool, for_writing: bool, reopen: bool = True) -> None:
        """Raises OSError where it is not open in that direction."""
        import fcntl

        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == (os.O_RDONLY if for_writing else os.O_WRONLY):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.fd = self.ready_fd = fd  # the second is the one to wait for
        self.kind = kind_of(fd)
        self._owned = owned
        self._socket: socket.socket | None = None
        if self.kind is Kind.SOCKET:
            import socket

            self._socket = socket.socket(fileno=fd)
            self._flags = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
        if self.kind is Kind.PIPE:
            _grow_pipe(fd)
        if reopen and (self.kind is Kind.PIPE or (self.kind is Kind.TERMINAL and for_writing)):
            self.ready_fd = _opened_again(fd, os.O_WRONLY if for_writing else os.O_RDONLY)
        self._looks_first = self.ready_fd == fd and self._may_block(for_writing)

    def read(self, view: memoryview) -> int | None:
        """Fill the start of `view`; how much. None: nothing is there yet. 0: the end. Raises OSError."""
        try:
            if self._socket is not None:
                return self._socket.recv_into(view, 0, self._flags)
            if self._looks_first and not is_ready(self.fd, select.POLLIN):
                return None
            return os.readv(self.ready_fd, [view])
        except BlockingIOError:
            return None

    def write(self, data: memoryview) -> int | None:
        """Write a part of `data`; how much. None: nothing fits yet. Raises OSError."""
        try:
            if self._socket is not None:
                return self._socket.send(data, self._flags)
            if not self._looks_first:
                return os.write(self.ready_fd, data)
            return os.write(self.fd, data[:PIPE_BUF]) if is_ready(self.fd, select.POLLOUT) else None
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Give back what was opened here, and the descriptor if it is owned. Repeatable. Raises OSError."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        again, self.ready_fd = self.ready_fd, self.fd
        owned, self._owned = self._owned, False
        try:
            if again != self.fd:
                os.close(again)
        finally:
            if owned:
                os.close(self.fd)

    def _may_block(self, for_writing: bool) -> bool:
        """Not a file, and no device such as /dev/null, which epoll refuses because it is always ready."""
        if self.kind in {Kind.FILE, Kind.BLOCK, Kind.SOCKET}:
            return False
        if self.kind is not Kind.DEVICE or not hasattr(select, "epoll"):
            return True
        with select.epoll() as probe:
            try:
                probe.register(self.fd, select.EPOLLOUT if for_writing else select.EPOLLIN)
            except PermissionError:
                return False
        return True


def is_ready(fd: int, event: int, patience: float | None = 0) -> bool:
    """Is `fd` ready for this event of poll(2)? 0: has it failed or been left, which is told unasked.

    Waits for it `patience` seconds, None: for ever. A system without poll(2) says yes.
    """
    if not hasattr(select, "poll"):
        return bool(event)
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(None if patience is None else 1000 * patience))


def _opened_again(fd: int, flags: int) -> int:
    """What `fd` is, opened once more and non-blocking; `fd` itself where that cannot be done."""
    try:
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return fd


def _grow_pipe(fd: int) -> None:
    """Let the pipe hold 1 MiB, where the system and the user's share of pipe memory allow it."""
    import fcntl

    get, grow = getattr(fcntl, "F_GETPIPE_SZ", None), getattr(fcntl, "F_SETPIPE_SZ", None)
    if get is not None and grow is not None:
        with suppress(OSError):  # a smaller pipe is slower, not wrong
            if fcntl.fcntl(fd, get) < PIPE_BYTES:
                fcntl.fcntl(fd, grow, PIPE_BYTES)


def descriptor_named(path: str) -> int | None:
    """The descriptor that `/dev/stdout`, `/dev/fd/N` or a symlink to one of these names.

    Opening such a path anew would truncate the file behind it, or fail for a socket. So it is used as
    the descriptor that it names.
    """
    for _ in range(40):  # as many symlinks as the kernel follows
        if match := _NAMED.fullmatch(path):
            return _NAMES[match["name"]] if match["name"] else int(match["number"])
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except (OSError, ValueError):
            return None
    return None


def is_standard(place: str, fd: int) -> bool:
    """Is `place` our own stdin (0) or stdout (1): `-`, or another name of it?"""
    return place == "-" or descriptor_named(place) == fd


def reserve_descriptors() -> None:
    """Fill the places of descriptors 0, 1 and 2 where the shell closed them (`<&-`, `>&-`, `2>&-`).

    Without this the next socket would take the number, and data meant for stdout would go into it. 0 and
    1 are opened in the wrong direction, so that their use fails with EBADF; what is said to a closed
    stderr is lost, as the shell asked for.
    """
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            # open() takes the lowest free number, which is fd: the smaller ones are in use by now.
            if os.open(os.devnull, flags) == fd:
                os.set_inheritable(fd, True)
    if sys.stdout is None:
        # Python has none then, and print() into none says nothing and fails at nothing.
        stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc] # it is the process's own, not a stand-in
    if sys.stderr is None:
        stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = stderr  # type: ignore[misc]


def allow_open_files(wanted: int) -> None:
    """Raise `ulimit -n` to `wanted`, or as far as it may be."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
