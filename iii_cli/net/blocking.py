"""One connection, one conversation, no event loop: what `channel create` and a plain `trigger` need.

Starting an event loop costs more than the whole of such a command.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from iii_cli.net.dialing import ConnectionLost, Opened, is_ready, opening, quick_ack, word_for
from iii_cli.protocol.frames import Event, encode_frame

if TYPE_CHECKING:
    from typing import Self

    from iii_cli.net.dialing import Wait
    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.refs import Endpoint

__all__ = ("BlockingWebSocket",)


class BlockingWebSocket:
    """An open WebSocket, without an event loop. A context manager that lets go of it."""

    def __init__(self, endpoint: Endpoint, target: str, *, what: str, deadline: float | None = None) -> None:
        """As `opening`, blocking. `deadline`, on the monotonic clock, ends all of it with TimeoutError."""
        steps = opening(endpoint, target, what=what)
        try:
            wait = next(steps)
            while True:
                wait = steps.send(_came(wait, _remaining(deadline)))
        except StopIteration as done:
            opened: Opened = done.value
            self._raw, self._decoder, self.trail = opened
        finally:
            steps.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it. Safe to repeat."""
        self.trail.closed()
        with suppress(OSError):
            self._raw.close()

    def send(self, opcode: int, payload: Buffer, deadline: float | None) -> None:
        """One frame. `deadline` is on the monotonic clock, in seconds. Raises TimeoutError,
        ConnectionLost.
        """
        try:
            self._raw.settimeout(_remaining(deadline))
            self._raw.sendall(b"".join(encode_frame(opcode, payload, os.urandom(4))))
        except OSError as error:
            raise _lost(error) from None

    def receive(self, deadline: float | None) -> list[Event]:
        """The next events, at least one. Raises TimeoutError, ConnectionLost, PeerMisbehaved."""
        while True:
            if events := self._decoder.events():
                return events
            try:
                self._raw.settimeout(_remaining(deadline))
                quick_ack(self._raw)
                count = self._raw.recv_into(self._decoder.space())
            except OSError as error:
                raise _lost(error) from None
            if not count:
                raise ConnectionLost("the connection ended without a Close frame")
            self._decoder.received(count)


def _came(wait: Wait, limit: float | None) -> bool:
    """Did it come in time? It may not have where the `limit` is over, or a little before."""
    seconds = min((s for s in (wait.seconds, limit) if s is not None), default=None)
    ready = is_ready(wait.sock, writable=wait.writable, seconds=seconds)
    if not ready and seconds == limit != wait.seconds:
        raise TimeoutError
    return ready


def _lost(error: OSError) -> Exception:
    """Our own time limit is a TimeoutError; with a number it is the kernel's: the host is dead."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return error
    return ConnectionLost(word_for(error))


def _remaining(deadline: float | None) -> float | None:
    """Seconds for the next system call. Raises TimeoutError when there are none left."""
    if deadline is None:
        return None
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
