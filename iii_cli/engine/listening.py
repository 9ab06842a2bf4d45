"""Listening sockets, and one task for each connection they bring."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import anyio

from iii_cli.engine.guard import is_loopback
from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.net.dialing import keep_alive, word_for

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("accept_all", "listen", "url_of")

BACKLOG = 1024
ACCEPTS_PER_WAKE = 64  # then other tasks have their turn
SHORTAGE_PAUSE = 0.1  # seconds without accepting where the system has no descriptors left

_GONE = {errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}


def listen(host: str, port: int, *, guarded: bool = False) -> list[socket.socket]:
    """Listen on every address that `host` has, all on one port; 0 lets the system choose it.

    `localhost` is loopback in IPv4 and, where there is one, IPv6. Raises LocalProblem, and UsageProblem where
    other machines could reach an engine that is not `guarded` by a token.
    """
    listeners: list[socket.socket] = []
    try:
        addresses = _addresses(host)
        if not guarded and not all(is_loopback(address) for _, address in addresses):
            raise UsageProblem(
                f"{host} can be reached from other machines, and the engine would serve anyone",
                hint="name a token for it: --token-file FILE",
            )
        for family, address in addresses:
            try:
                listener = _listen_on(family, address, port)
            except OSError:
                if listeners:  # no IPv6 here, or its port is taken: the first address is enough
                    continue
                raise
            listeners.append(listener)
            port = listener.getsockname()[1]
    except OSError as error:
        for listener in listeners:
            listener.close()
        in_use = error.errno == errno.EADDRINUSE
        hint = "is an engine running already? `--port 0` takes a free port" if in_use else None
        raise LocalProblem(f"cannot listen on {host} port {port}: {word_for(error)}", hint=hint) from None
    return listeners


def _addresses(host: str) -> list[tuple[int, str]]:
    if host == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(info[0]), str(info[4][0])) for info in found))


def _listen_on(family: int, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(host: str, listener: socket.socket, *, secure: bool = False) -> str:
    """Where a client on this machine finds it."""
    port = listener.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):
        host = "localhost"
    scheme = "wss" if secure else "ws"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def accept_all(
    listener: socket.socket,
    welcome: Callable[[socket.socket], None],
    short: Callable[[str], None] = lambda reason: None,
) -> None:
    """Hand every connection to `welcome`, for ever. Cancelling loses none that was accepted.

    `short` is told, once for each time, that the system has no descriptors left and connections wait.
    """
    shortage: str | None = None  # the one that `short` was told of
    while True:
        await anyio.wait_readable(listener)
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                raw, _ = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _GONE:  # it gave up before we got to it
                    continue
                if shortage is None:
                    shortage = word_for(error)
                    short(shortage)
                await anyio.sleep(SHORTAGE_PAUSE)
                break
            shortage = None
            raw.setblocking(False)
            keep_alive(raw)
            welcome(raw)
