"""What --verbose tells of connections: each one from its beginning to its end."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from iii_cli.protocol.messages import Message
    from iii_cli.protocol.refs import EngineAddress

__all__ = ("Trail", "close_all", "listen", "try_again")

_numbers = count(1)
_listener: Callable[[str], None] | None = None


def listen(listener: Callable[[str], None] | None) -> None:
    """From now on `listener` gets the lines, None: nobody. It must not raise, and not wait for long."""
    global _listener
    _listener = listener


def try_again(reason: str) -> None:
    """There is no connection yet."""
    if _listener is not None:
        _listener(f"{reason}; trying again")


def close_all() -> None:
    """The process ends, and with it what is still open."""
    for trail in sorted(_open, key=lambda trail: trail.number):
        trail.closed()


@final
class Trail:
    """One connection."""

    __slots__ = ("_began", "number")

    def __init__(self, address: EngineAddress, raw: socket.socket) -> None:
        self.number = next(_numbers)
        self._began = time.monotonic()
        if _listener is not None:
            _open.add(self)
            self._tell(f"connected to {address} ({_peer(raw)})")

    def upgrade(self, target: str, status: int) -> None:
        """The request that makes a WebSocket of it, and the answer."""
        if _listener is not None:
            self._tell(f"GET {_masked(target)}: {status}")

    def message(self, message: Message) -> None:
        """What is asked of the engine, or answered. Pings and the like are no requests."""
        verb = _VERBS.get(type(message).__name__)
        if _listener is not None and verb is not None:
            name = getattr(message, "function_id", None) or getattr(message, "id", "")
            self._tell(f"{verb} {name}")

    def closed(self) -> None:
        """This side has let go. Says it once."""
        if self in _open:
            _open.remove(self)
            self._tell(f"closed after {(time.monotonic() - self._began) * 1000:.0f} ms")

    def _tell(self, text: str) -> None:
        if _listener is not None:
            _listener(f"#{self.number} {text}")


_open: set[Trail] = set()  # of which a listener has heard
_VERBS = {
    "InvokeFunction": "call",
    "InvocationResult": "answer for",
    "RegisterFunction": "register",
    "UnregisterFunction": "unregister",
}


def _peer(raw: socket.socket) -> str:
    """The address that the name came to, and what protects the connection."""
    try:
        host, port, *_ = raw.getpeername()
    except OSError:
        return "gone by now"
    version: Any = getattr(raw, "version", None)
    secure = f", {version()}" if version is not None else ""
    return f"{f'[{host}]' if ':' in host else host}:{port}{secure}"


def _masked(target: str) -> str:
    """A request target: a channel's key is in its query, and so may be a token of a gateway's."""
    path, mark, query = target.partition("?")
    parts = (part.partition("=") for part in query.split("&"))
    shown = "&".join(f"{name}={value if name == 'dir' else '***'}" for name, _, value in parts)
    return f"{path}{mark}{shown if mark else ''}"
