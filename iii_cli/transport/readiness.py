"""Waiting for a descriptor, and lingering for it a moment first.

To wait through the event loop is to register, to be called back, to be scheduled and to unregister: four
times the work of reading a line and passing it on. A stream that was just busy is likely to go on soon, so a
wait begins with a few milliseconds in poll(2): for the descriptor, and for the loop's own epoll, which is
ready as soon as anything else is, be it another descriptor, a signal or a thread. Only timers may be late, by
those milliseconds.

That needs a loop whose epoll is known: `new_loop` makes one. On any other, and on trio, the wait is anyio's.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    import socket

__all__ = ("new_loop", "wait_readable", "wait_writable")

LINGER_MS = 5  # how late a timer may be; the turn of a pump that never waits is as long
TURNS = 3  # that others get before a wait goes through the event loop after all

_epolls: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's own event loop, which also says whether somebody wants to go on."""

    def is_idle(self) -> bool:
        return not getattr(self, "_ready", ())


def new_loop() -> asyncio.AbstractEventLoop:
    """asyncio's own event loop, on which a wait begins with lingering."""
    if sys.platform != "linux":
        return asyncio.new_event_loop()
    selector = selectors.EpollSelector()
    loop = _Loop(selector)
    _epolls[loop] = selector.fileno()
    return loop


async def wait_readable(waited: int | socket.socket) -> None:
    """Wait until `waited` can be read without blocking, or has failed. Cancelling loses nothing."""
    if not await _lingered(waited, select.POLLIN):
        await anyio.wait_readable(waited)


async def wait_writable(waited: int | socket.socket) -> None:
    """Wait until `waited` can be written to without blocking, or has failed. Cancelling loses nothing."""
    if not await _lingered(waited, select.POLLOUT):
        await anyio.wait_writable(waited)


async def _lingered(waited: int | socket.socket, event: int) -> bool:
    """Was it ready within a moment?"""
    epoll = _epoll_of_this_loop()
    if epoll is None:
        return False
    if not await _others_are_done():
        return False
    fd = waited if isinstance(waited, int) else waited.fileno()
    if fd < 0:
        return False
    poll = select.poll()
    poll.register(fd, event)
    poll.register(epoll, select.POLLIN)
    return any(ready == fd for ready, _ in poll.poll(LINGER_MS))


async def _others_are_done() -> bool:
    """Let whoever can go on without waiting do so first: to linger then would hold up what they are to
    send.
    """
    loop = asyncio.get_running_loop()
    for _ in range(TURNS):
        await checkpoint()
        if not isinstance(loop, _Loop) or loop.is_idle():
            return True
    return False


def _epoll_of_this_loop() -> int | None:
    try:
        return _epolls.get(asyncio.get_running_loop())
    except RuntimeError:  # not asyncio
        return None
