"""Waiting for a descriptor, and lingering for it a moment first.

To wait through the event loop is to register, to be called back, to be scheduled and to unregister: four
times the work of reading a line and passing it on. A stream that was just busy is likely to go on soon, so a
wait begins with a few milliseconds in poll(2): for the descriptor, and for the loop's own epoll, which is
ready as soon as anything else is, be it another descriptor, a signal or a thread. Only timers may be late, by
those milliseconds.

That needs a loop whose epoll is known: `new_loop` makes one, and a wait on it that does go through the loop
takes the shortest way there is. On any other, and on trio, the wait is anyio's.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ("each_time_readable", "new_loop", "wait_readable", "wait_writable")

LINGER_MS = 5  # how late a timer may be; the turn of a pump that never waits is as long
TURNS = 3  # that others get before a wait goes through the event loop after all


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's own event loop, of which more is known."""

    def __init__(self) -> None:
        selector = selectors.EpollSelector()
        super().__init__(selector)
        self.epoll = selector.fileno()
        self.waited: set[tuple[int, int]] = set()  # descriptors and events for which somebody waits

    def is_idle(self) -> bool:
        """Does nobody want to go on just now?"""
        return not getattr(self, "_ready", ())


def new_loop() -> asyncio.AbstractEventLoop:
    """asyncio's own event loop, on which a wait begins with lingering."""
    return _Loop() if sys.platform == "linux" else asyncio.new_event_loop()


async def wait_readable(waited: int | socket.socket) -> None:
    """Wait until `waited` can be read without blocking, or has failed. Cancelling loses nothing.

    Raises anyio.BusyResourceError where somebody waits for that already.
    """
    loop, fd = _own_loop(), waited if isinstance(waited, int) else waited.fileno()
    if loop is None or fd < 0:
        await anyio.wait_readable(waited)
    elif not await _lingered(loop, fd, select.POLLIN):
        await _wait(loop, fd, select.POLLIN, loop.add_reader, loop.remove_reader)


async def wait_writable(waited: int | socket.socket) -> None:
    """Wait until `waited` can be written to without blocking, or has failed. As `wait_readable`."""
    loop, fd = _own_loop(), waited if isinstance(waited, int) else waited.fileno()
    if loop is None or fd < 0:
        await anyio.wait_writable(waited)
    elif not await _lingered(loop, fd, select.POLLOUT):
        await _wait(loop, fd, select.POLLOUT, loop.add_writer, loop.remove_writer)


async def each_time_readable(waited: socket.socket, act: Callable[[], bool]) -> None:
    """Call `act` each time that `waited` can be read without blocking, until it says that it had enough.

    For what is waited for again and again, and as long as the program runs: on asyncio it is registered once,
    and no wait leaves anything behind. `act` runs in no task there. Cancelling ends it; what `act` raises is
    raised.
    """
    try:
        loop = asyncio.get_running_loop()
        enough: asyncio.Future[None] = loop.create_future()
        loop.add_reader(waited, _act_until, enough, act)
    except (RuntimeError, NotImplementedError):  # not asyncio; asyncio on Windows
        pass
    else:
        try:
            await enough
        finally:
            loop.remove_reader(waited)
        return
    had_enough = False
    while not had_enough:
        await anyio.wait_readable(waited)
        had_enough = act()


def _act_until(enough: asyncio.Future[None], act: Callable[[], bool]) -> None:
    try:
        if not enough.done() and act():
            enough.set_result(None)
    except BaseException as error:
        enough.set_exception(error)


async def _wait(
    loop: _Loop, fd: int, event: int, add: Callable[..., None], remove: Callable[[int], bool]
) -> None:
    """Through the event loop."""
    if (fd, event) in loop.waited:
        raise anyio.BusyResourceError("reading from" if event == select.POLLIN else "writing to")
    ready: asyncio.Future[None] = loop.create_future()
    add(fd, _settle, ready)
    loop.waited.add((fd, event))
    try:
        await ready
    finally:
        loop.waited.discard((fd, event))
        remove(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():  # it is called until it is removed
        ready.set_result(None)


async def _lingered(loop: _Loop, fd: int, event: int) -> bool:
    """Was it ready within a moment?"""
    if not await _others_are_done(loop):
        return False
    poll = select.poll()
    poll.register(fd, event)
    poll.register(loop.epoll, select.POLLIN)
    return any(ready == fd for ready, _ in poll.poll(LINGER_MS))


async def _others_are_done(loop: _Loop) -> bool:
    """Let whoever can go on without waiting do so first: to linger then would hold up what they are to
    send.
    """
    for _ in range(TURNS):
        await asyncio.sleep(0)  # what a checkpoint is on this loop, without finding out which loop it is
        if loop.is_idle():
            return True
    return False


def _own_loop() -> _Loop | None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # not asyncio
        return None
    return loop if isinstance(loop, _Loop) else None
