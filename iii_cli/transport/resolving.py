"""Names to addresses. The system's call cannot be interrupted, and a name server may never answer.

So it runs in a thread that nobody waits for: no time limit, no Ctrl-C, and not the end of the process.
"""

from __future__ import annotations

import signal
import socket
from _thread import start_new_thread
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iii_cli.wire.address import EngineAddress

__all__ = ("found_at_once", "looking_up")


def found_at_once(address: EngineAddress) -> list[Any] | None:
    """As `getaddrinfo`, for what needs no name server: numbers, and the names of this machine.

    None for everything else. Raises OSError.
    """
    try:
        return _look_up(address, 0 if address.is_loopback else socket.AI_NUMERICHOST)
    except socket.gaierror:
        if address.is_loopback:
            raise
        return None


@contextmanager
def looking_up(address: EngineAddress) -> Iterator[tuple[socket.socket, Callable[[], list[Any]]]]:
    """Begin to look it up: a socket that ends when that is over, and what gives the result then, or raises
    OSError. Left early, the rest of it has no effect.
    """
    outcome: list[Any] = []

    def look_up() -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        with theirs:
            try:
                outcome.append(_look_up(address))
            except Exception as error:
                outcome.append(error)

    def result() -> list[Any]:
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        found: list[Any] = outcome[0]
        return found

    ours, theirs = socket.socketpair()
    with ours:
        start_new_thread(look_up, ())  # threading's waits for its start, amid which a Ctrl-C breaks it
        yield ours, result


def _look_up(address: EngineAddress, flags: int = 0) -> list[Any]:
    # As bytes where it can be: a str is encoded by the idna codec, which takes a millisecond to load.
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        return socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:
        raise OSError("not a host name") from None
