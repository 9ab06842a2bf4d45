"""Messages in pieces: what they may cost the engine, and what an engine may cost a client with them."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.listening import listening, upgraded
from tests.support.marks import in_ci_but
from tests.support.program import Program, running_engine
from tests.support.raw import BINARY, CONT, PING, PONG, TEXT, Dropped, Frame, RawSocket
from tests.support.refs import target_of
from tests.support.stage import Stage

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

MIB = 1 << 20
MANY = 400_000
FEW = 500  # empty fragments that a message may have
ENDLESS = 10_000


@pytest.fixture
def anyio_backend() -> str:
    """RawSocket is asyncio's."""
    return "asyncio"


def fragment(payload: bytes, opcode: int = CONT, *, masked: bool = True) -> bytes:
    """One that is not the last."""
    return bytes([opcode, (0x80 if masked else 0) | len(payload)]) + (b"\0" * 4 if masked else b"") + payload


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with running_engine() as (url, process):
        stage = Place(url, process.pid)
        yield stage
        await stage.close()


class Place(Stage):
    """An engine of its own."""

    def __init__(self, url: str, pid: int) -> None:
        super().__init__(url)
        self._pid = pid

    async def at(self, target: str) -> RawSocket:
        """A socket on which nothing is waited for."""
        raw = await self.open(target)
        if target == "/":
            await raw.receive()
        return raw

    def memory(self) -> int:
        """Resident bytes of the engine."""
        return int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.ci
@pytest.mark.timeout(60)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
async def test_tiny_fragments_take_the_memory_of_their_bytes(place: Place) -> None:
    """Before, two bytes took 54: 30 MB took 817 MiB."""
    writer, _ = await place.refs()
    for target, opcode in (("/", TEXT), ("/otel", BINARY), (target_of(writer), TEXT)):
        raw = await place.at(target)
        before = place.memory()
        raw.post_bytes(fragment(b"ab", opcode) + fragment(b"cd") * MANY)
        await raw.send(PING)
        assert (await raw.receive(20)).opcode == PONG
        assert place.memory() - before < 8 * MIB, target
        raw.drop()


async def test_empty_fragments_without_end_end_the_connection(place: Place) -> None:
    for first in (TEXT, BINARY):
        writer, _ = await place.refs()
        for target in ("/", "/otel", target_of(writer)):
            raw = await place.at(target)
            raw.post_bytes(fragment(b"", first) + fragment(b"") * ENDLESS)
            raw.post(Frame(PING, b""))
            with pytest.raises(Dropped):
                await raw.receive()


async def test_a_message_may_have_some_empty_fragments(place: Place) -> None:
    writer, reader = [await place.end(ref) for ref in await place.refs()]
    for opcode in (TEXT, BINARY, TEXT):
        writer.post_bytes(fragment(b"a", opcode) + fragment(b"") * FEW + fragment(b"b"))
        await writer.send(CONT, b"c")
        assert await reader.receive() == Frame(opcode, b"abc")
    worker = await place.at("/")
    worker.post_bytes(fragment(b"", TEXT) + fragment(b'{"type":') + fragment(b"") * FEW)
    await worker.send(CONT, b'"ping"}')
    assert json.loads((await worker.receive()).payload) == {"type": "pong"}


# The other way round: an engine that means no good.

READS = {
    "a reader": ("channel", "read", "iii:read:a:b", "--messages", "drop"),
    "lines": ("channel", "read", "iii:read:a:b", "--lines"),
    "a worker": ("serve", "f", "--", "cat"),
    "a call": ("trigger", "f"),
}


def empty_fragments_without_end(first: int, connection: socket.socket) -> None:
    """Until the client has had enough."""
    upgraded(connection)
    connection.sendall(fragment(b"", first, masked=False))
    while True:
        connection.sendall(fragment(b"", masked=False) * 1000)


@pytest.mark.parametrize(
    ("client", "first"), in_ci_but([("a reader", BINARY), ("a call", TEXT)], product(READS, (TEXT, BINARY)))
)
def test_a_client_has_enough_of_empty_fragments(tmp_path: Path, client: str, first: int) -> None:
    with listening(partial(empty_fragments_without_end, first)) as url:
        done = Program(tmp_path, url).run("-q", *READS[client], "--connect-timeout", "3s", limit=15)
    assert done.returncode in (1, 3, 7, 8)
    assert done.stderr.count(b"\n") == 1, done.stderr


def _peak_of_reading(tmp_path: Path, behave: Callable[[socket.socket], None]) -> int:
    """The most memory that `channel read` took at once."""
    with listening(behave) as url:
        nowhere = subprocess.DEVNULL
        reading = Program(tmp_path, url).start(*READS["a reader"], stdout=nowhere, stderr=nowhere)
        _, status, usage = os.wait4(reading.pid, 0)
        reading.returncode = os.waitstatus_to_exitcode(status)
    assert reading.returncode >= 0
    return usage.ru_maxrss << (0 if os.uname().sysname == "Darwin" else 10)


@pytest.mark.ci
@pytest.mark.timeout(60)
def test_a_client_keeps_the_bytes_of_a_message_and_not_its_fragments(tmp_path: Path) -> None:
    def in_one_piece(connection: socket.socket) -> None:
        upgraded(connection)
        size = 2 * MANY
        connection.sendall(b"\x81\x7f" + size.to_bytes(8, "big") + b"a" * size + b"\x88\x00")

    def in_many(connection: socket.socket) -> None:
        upgraded(connection)
        connection.sendall(fragment(b"aa", TEXT, masked=False) + fragment(b"aa", masked=False) * (MANY - 2))
        connection.sendall(b"\x80\x02aa\x88\x00")

    whole = _peak_of_reading(tmp_path, in_one_piece)
    assert _peak_of_reading(tmp_path, in_many) - whole < 8 * MIB
