"""A descriptor that takes what it can at once and never makes us wait (house.md 4.4).

* what epoll refuses because it is always ready is written directly: files, disks, /dev/null;
* sockets are given MSG_DONTWAIT;
* pipes and terminals are opened once more, non-blocking: O_NONBLOCK on the description that the shell shares
  would break the shell;
* everything else, and what cannot be reopened, is asked with poll() and given at most PIPE_BUF bytes.

Light: stderr is one of these before anything else is loaded.
"""

from __future__ import annotations

import errno
import os
import select
from typing import TYPE_CHECKING, final

from iii_cli.terminal.descriptors import Kind, grow_pipe, kind_of, own_description, writable

if TYPE_CHECKING:
    import socket

__all__ = ("Outlet",)

PIPE_BUF = 4096  # what a writable pipe takes without blocking (pipe(7))


@final
class Outlet:
    """Raises OSError where `fd` is not open for writing. Never closes `fd`."""

    def __init__(self, fd: int) -> None:
        if not writable(fd):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.kind = kind_of(fd)
        self._fd = fd
        self._own: int | None = None
        self._socket: socket.socket | None = None
        if self.kind is Kind.SOCKET:
            self._open_socket()
        elif self.kind in {Kind.PIPE, Kind.TERMINAL}:
            if self.kind is Kind.PIPE:
                grow_pipe(fd)
            self._own = own_description(fd, os.O_WRONLY)
        self._blocks = self._own is None and self._may_block()

    @property
    def ready_fd(self) -> int:
        """The descriptor to wait for after a BlockingIOError."""
        return self._fd if self._own is None else self._own

    def offer(self, data: memoryview) -> int:
        """Write a part of `data`; how much. Raises OSError, and BlockingIOError where nothing fits."""
        if self._socket is not None:
            return self._socket.send(data, self._flags)
        if self._blocks:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            if not poll.poll(0):
                raise BlockingIOError
            return os.write(self._fd, data[:PIPE_BUF])
        return os.write(self.ready_fd, data)

    def close(self) -> None:
        """Give back what was opened here. Safe to repeat. Raises OSError."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if self._own is not None:
            own, self._own, self._blocks = self._own, None, True
            os.close(own)

    def _may_block(self) -> bool:
        """Not a file, and no device such as /dev/null, which epoll refuses because it is always ready."""
        if self.kind in {Kind.FILE, Kind.BLOCK}:
            return False
        if self.kind is not Kind.DEVICE or not hasattr(select, "epoll"):
            return True
        with select.epoll() as probe:
            try:
                probe.register(self._fd, select.EPOLLOUT)
            except PermissionError:
                return False
        return True

    def _open_socket(self) -> None:
        import socket

        self._socket = socket.socket(fileno=self._fd)
        self._flags = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
