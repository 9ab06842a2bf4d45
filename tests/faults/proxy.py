"""A TCP proxy with misfortunes: it cuts, resets, stalls, delays, splits, corrupts, reframes or calls.

It stands between a command and the engine. It reads just enough to know which end of which channel a
connection opens, and where the frames of the stream begin. One misfortune strikes once, on the first
connection that opens its end, at one byte; every other connection passes untouched.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.faults.place import PlaceFinder
from tests.faults.reframing import REFRAMINGS, Reframer, Reframing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.place import Place

__all__ = ("Act", "Misfortune", "Proxy")

Act = Literal["fin", "half", "reset", "stall", "delay", "split", "flip", "lose", "repeat", "call"] | Reframing
End = Literal["write", "read"]
CHUNK = 64 << 10
DELAY = 0.2  # seconds
SPLIT = 200  # bytes
AT_A_BYTE = ("flip", "lose", "repeat", "split", *REFRAMINGS)  # these are about the bytes behind the place
DRAIN = 20.0  # seconds; nothing of a case lives longer


@dataclass(slots=True)
class Misfortune:
    """What happens to the stream through the `end` of a channel, and where.

    fin: both sides see a clean end of TCP. half: only the receiver does, the rest stays open. reset: RST to
    both. stall: nothing passes any more and nothing closes. delay: a pause. split: the next bytes pass one
    by one. flip: one bit. lose, repeat: the next `amount` bytes. call: `call()`, then all passes. Those of
    `reframing.py` are for places at the end of a frame.
    """

    end: End
    place: Place
    act: Act
    bit: int = 0
    amount: int = 1
    messages: int = 0  # of the stream, between open and close
    call: Callable[[], None] = lambda: None
    struck: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        return f"{self.act} at {self.end} {self.place}"


class Proxy:
    """Listens on a port of its own while the `with` block lasts."""

    def __init__(self, engine_port: int, channel_id: str, misfortune: Misfortune | None = None) -> None:
        self._engine_port = engine_port
        self._wanted = None
        if misfortune is not None:
            self._wanted = (f"/ws/channels/{channel_id}?".encode(), f"dir={misfortune.end}".encode())
        self._misfortune = misfortune
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.over = threading.Event()

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.stop()

    def claim(self, head: bytes) -> Misfortune | None:
        """The misfortune of the connection with this request, for the first one that it fits."""
        line = head.split(b"\r\n", 1)[0]
        with self._lock:
            if self._wanted is None or not all(part in line for part in self._wanted):
                return None
            self._wanted = None
            return self._misfortune

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                engine = socket.create_connection(("127.0.0.1", self._engine_port), timeout=DRAIN)
            except OSError:
                _reset(client)
                continue
            connection = _Connection(self, client, engine)
            with self._lock:
                self._connections.append(connection)
            connection.start()


class _Flow:
    """One direction of a connection."""

    def __init__(self, name: End, source: socket.socket, target: socket.socket) -> None:
        self.name = name
        self.source, self.target = source, target
        self.head: bytes | None = b""  # of HTTP; None once it has passed
        self.finder: PlaceFinder | None = None
        self.due = False  # at the place, and the byte that it is about has not come
        self.ended = False
        self.discard = False
        self.reframer: Reframer | None = None

    def forward(self, data: bytes) -> None:
        if data and not self.discard:
            self.target.sendall(data)


class _Connection:
    """Two sockets, and one thread, so that nobody waits on a socket while it is closed.

    A stream goes one way: while one direction waits for its target, the other has nothing to say.
    """

    def __init__(self, proxy: Proxy, client: socket.socket, engine: socket.socket) -> None:
        self._proxy = proxy
        self._sockets = (client, engine)
        for end in self._sockets:
            end.settimeout(DRAIN)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # what a writer sends goes up, what a reader receives comes down
        self._flows = (_Flow("write", client, engine), _Flow("read", engine, client))
        self._misfortune: Misfortune | None = None
        self._ending = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._ending:
            for end in self._sockets:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._thread.join(DRAIN)
        for end in self._sockets:
            end.close()

    def _run(self) -> None:
        try:
            while not all(flow.ended for flow in self._flows):
                waiting = [flow.source for flow in self._flows if not flow.ended]
                ready, _, _ = select.select(waiting, [], [], DRAIN)
                if not ready:
                    return
                for flow in self._flows:
                    if flow.source in ready:
                        self._move(flow)
        except OSError:
            self._reset()  # one side broke: so does the other

    def _reset(self) -> None:
        with self._ending:  # one side may be gone, and the case over, before the other is reset
            for end in self._sockets:
                _reset(end)

    def _move(self, flow: _Flow) -> None:
        data = flow.source.recv(CHUNK)
        if not data:
            cut = all(each.discard for each in self._flows)
            if cut and self._misfortune and self._misfortune.end != flow.name:
                raise ConnectionResetError  # who received has let go: who sends meets a closed socket
            flow.ended = True
            if flow.reframer is not None:
                flow.forward(flow.reframer.rest())
            if not flow.discard:
                flow.target.shutdown(socket.SHUT_WR)
        elif flow.head is not None:
            self._pass_head(flow, data)
        else:
            self._pass(flow, data)

    def _pass_head(self, flow: _Flow, data: bytes) -> None:
        """The HTTP head tells which end it is; what comes behind it is the stream."""
        assert flow.head is not None
        head, blank, rest = (flow.head + data).partition(b"\r\n\r\n")
        flow.head = None if blank else head
        if not blank:
            return
        if flow.name == "write":
            self._misfortune = self._proxy.claim(head)
            for each in self._flows:
                if self._misfortune and self._misfortune.end == each.name:
                    each.finder = PlaceFinder(self._misfortune.place, self._misfortune.messages)
        flow.forward(head + blank)
        if rest:
            self._pass(flow, rest)

    def _pass(self, flow: _Flow, data: bytes) -> None:
        if flow.reframer is not None:
            return flow.forward(flow.reframer.feed(data))
        data, at = flow.finder.feed(data) if flow.finder and not flow.due else (data, 0 if flow.due else None)
        if at is None or self._misfortune is None:
            return flow.forward(data)
        flow.forward(data[:at])
        flow.due = at == len(data) and self._misfortune.act in AT_A_BYTE
        if flow.due:
            return None
        self._misfortune.struck.set()
        return self._strike(self._misfortune, flow, data[at:])

    def _strike(self, misfortune: Misfortune, flow: _Flow, rest: bytes) -> None:
        match misfortune.act:
            case "fin":
                for each in self._flows:
                    each.discard = True
                    each.target.shutdown(socket.SHUT_WR)
            case "half":
                flow.discard = True
                flow.target.shutdown(socket.SHUT_WR)
            case "reset":
                raise ConnectionResetError
            case "stall":
                self._proxy.over.wait(2 * DRAIN)
                for each in self._flows:
                    each.discard = each.ended = True
            case "delay":
                self._proxy.over.wait(DELAY)
            case "split":
                for at in range(min(SPLIT, len(rest))):
                    flow.forward(rest[at : at + 1])
                rest = rest[SPLIT:]
            case "flip":
                rest = bytes(byte ^ 1 << misfortune.bit for byte in rest[:1]) + rest[1:]
            case "lose":
                rest = rest[misfortune.amount :]
            case "repeat":
                rest = rest[: misfortune.amount] + rest
            case "call":
                misfortune.call()
            case "empty-binary" | "empty-text" | "join" | "halve" | "swap":
                flow.reframer = Reframer(misfortune.act)
                rest = flow.reframer.feed(rest)
        flow.forward(rest)


def _reset(end: socket.socket) -> None:
    """RST: with no linger time a close throws away what is queued and says so."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
