"""What takes bytes or text from strangers, and the errors that each may answer with. All else is a bug."""

from __future__ import annotations

import shlex
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from iii_cli.config.refspec import resolve_ref
from iii_cli.config.store import ContextStore, PrivateFolder, SavedRefs
from iii_cli.engine.builtins import builtin_functions
from iii_cli.engine.core import Core
from iii_cli.engine.door import Guard, HeadParser, MalformedOrigin, Refused, admit, host_name, origin_of
from iii_cli.errors import Failure, PeerMisbehaved
from iii_cli.protocol.frames import FrameDecoder, parse_close
from iii_cli.protocol.handshake import parse_response
from iii_cli.protocol.json_text import MalformedJson, parse, to_raw, with_key
from iii_cli.protocol.messages import InvocationResult, InvokeFunction, read_message, result_of
from iii_cli.protocol.messages import decode as decode_message
from iii_cli.protocol.messages import encode as encode_message
from iii_cli.protocol.payload import MalformedPath, build_payload, parse_path
from iii_cli.protocol.records import LineSplitter, jsonl_to_record
from iii_cli.protocol.refs import ChannelRef, EngineAddress, MalformedAddress, MalformedRef, Secret
from iii_cli.protocol.seal import MalformedSeal
from iii_cli.protocol.seal import decode as decode_seal
from iii_cli.protocol.verifier import Verifier
from iii_cli.quantities import byte_count, seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ("TARGETS", "Target")


class Target(NamedTuple):
    """One door for strangers."""

    take: Callable[[bytes, Path], None]
    allowed: tuple[type[BaseException], ...] = ()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _frames(data: bytes, folder: Path) -> None:
    """Whole, and cut into two at every length of a prefix of sixteen: the same events, the same fault."""
    outcomes = {
        _events([data[:cut], data[cut:]], masked, pieces)
        for masked in (True, False)
        for pieces in (False,)
        for cut in range(min(len(data), 16) + 1)
        if masked == bool(data[1:2] and data[1] & 0x80)
    }
    assert len(outcomes) <= 1, outcomes
    _events([data], masked=False, pieces=True)


def _events(parts: list[bytes], masked: bool, pieces: bool) -> str:
    decoder = FrameDecoder(masked=masked, pieces=pieces, frame_max=1 << 20, message_max=1 << 21)
    seen: list[str] = []
    try:
        for part in parts:
            decoder.feed(part)
            while events := decoder.events():
                for opcode, payload, final in events:
                    seen.append(f"{opcode} {bytes(payload)!r} {final}")
                    if opcode == 8:
                        parse_close(bytes(payload))
    except PeerMisbehaved as error:
        seen.append(str(error))
    return "; ".join(seen)


def _message(data: bytes, folder: Path) -> None:
    """What can be read can be written, and then reads the same. What passes through is read or refused."""
    message = decode_message(data)
    assert decode_message(encode_message(message)) == message
    if isinstance(message, InvokeFunction):
        for who in ("us", "us again"):
            message = replace(message, data=with_key(message.data, "_caller_worker_id", who))
        payload = parse(message.data)
        assert not isinstance(payload, dict) or payload["_caller_worker_id"] == "us again"


def _answer(data: bytes, folder: Path) -> None:
    """As a client reads whatever an engine sends."""
    message = read_message(data)
    if isinstance(message, InvocationResult):
        result_of(message)


def _json(data: bytes, folder: Path) -> None:
    """What can be read can be written, and then reads the same."""
    value = parse(data)
    assert parse(to_raw(value)) == value


def _engine(data: bytes, folder: Path) -> None:
    """The engine itself, with a registered worker: a line is a message. Nothing may be raised at all."""
    numbers = iter(range(1 << 30))
    core = Core(lambda: f"00000000-0000-4000-8000-{next(numbers):012x}", 0, builtin_functions())
    core.connected(1, "127.0.0.1", 0)
    core.connected(2, "127.0.0.1", 0)
    for at, line in enumerate(data.split(b"\n")):
        core.received(1 + at % 2, line, at)
        core.tick(at * 1_000_000_000)
    core.disconnected(1, 99)
    core.tick(1 << 50)


def _seal(data: bytes, folder: Path) -> None:
    decode_seal(data)


def _stream(data: bytes, folder: Path) -> None:
    """Frames for a reader, one a line; the first byte says which kind. It always comes to a verdict."""
    verifier = Verifier(require_seal=len(data) % 2 == 0)
    for line in data.split(b"\n"):
        if verifier.finished:
            break
        if line[:1] == b"{":
            verifier.text(line)
        else:
            verifier.chunk(line)
    assert repr(verifier.end(close_frame=len(data) % 3 == 0))


def _ref(data: bytes, folder: Path) -> None:
    resolve_ref(
        _text(data), None, environ={"X": "iii:read:a:b"}, store=SavedRefs(PrivateFolder(lambda: folder))
    )


def _ref_token(data: bytes, folder: Path) -> None:
    ref = ChannelRef.from_token(_text(data))
    assert ChannelRef.from_token(ref.to_token()) == ref
    assert ChannelRef.from_json(ref.to_json()) == ref


def _url(data: bytes, folder: Path) -> None:
    """What can be read is sendable: one line, and reading it again changes nothing."""
    address = EngineAddress.parse(_text(data))
    ref = ChannelRef.from_token("iii:read:a:b")
    for target in (address.worker_target(), address.channel_target(ref), address.authority):
        assert target.isprintable()
        assert " " not in target
    assert EngineAddress.parse(address.full_url) == address


def _request(data: bytes, folder: Path) -> None:
    request = HeadParser().feed(data)
    if request is not None:
        guard = Guard(Secret("0123456789abcdef"), frozenset(["http://a"]), frozenset(["b"]))
        admit(request, Core(str, 0, builtin_functions()).channels, guard)


def _response(data: bytes, folder: Path) -> None:
    parse_response(data)


def _origin(data: bytes, folder: Path) -> None:
    host_name(_text(data))
    assert origin_of(origin_of(_text(data))) == origin_of(_text(data))


def _context_file(data: bytes, folder: Path) -> None:
    (folder / "x.toml").write_bytes(data)
    ContextStore(PrivateFolder(lambda: folder)).load("x")


def _saved_ref_file(data: bytes, folder: Path) -> None:
    (folder / "x.json").write_bytes(data)
    (folder / "x").write_bytes(data)
    SavedRefs(PrivateFolder(lambda: folder)).load("x")


def _quantity(data: bytes, folder: Path) -> None:
    for read in (seconds, byte_count):
        value: Any = read(_text(data), "--x")
        assert value is None or value >= 0


def _path(data: bytes, folder: Path) -> None:
    parse_path(_text(data))


def _payload(data: bytes, folder: Path) -> None:
    build_payload(_text(data).split("\n"), [])


def _lines(data: bytes, folder: Path) -> None:
    splitter = LineSplitter(longest=1000)
    lines = [line for at in range(0, len(data), 7) for line in splitter.feed(data[at : at + 7])]
    for number, line in enumerate([*lines, *splitter.finish()]):
        jsonl_to_record(line, number)


WORDS_LEFT_OUT = {"--", "engine", "serve", "demo", "wait", "--wait-engine", "completion", "doctor", "bench"}


def _command_line(data: bytes, folder: Path) -> None:
    """Whole command lines, without those that wait, or run what they are given. No engine answers them."""
    from iii_cli import cli

    try:
        words = shlex.split(_text(data).replace("\0", ""))
    except ValueError:
        return
    if WORDS_LEFT_OUT.intersection(words) or any(word.startswith("--wa") for word in words):
        return
    stdin, sys.stdin = sys.stdin, StringIO("")
    try:
        cli._run(words)
    except SystemExit as leaving:
        if leaving.code not in (None, 0):
            raise
    finally:
        sys.stdin = stdin


TARGETS: dict[str, Target] = {
    "frames": Target(_frames),
    "message": Target(_message, (ValueError,)),
    "answer": Target(_answer, (Failure,)),
    "json": Target(_json, (MalformedJson,)),
    "engine": Target(_engine),
    "seal": Target(_seal, (MalformedSeal,)),
    "stream": Target(_stream),
    "ref": Target(_ref, (Failure,)),
    "ref_token": Target(_ref_token, (MalformedRef,)),
    "url": Target(_url, (MalformedAddress,)),
    "request": Target(_request, (Refused,)),
    "response": Target(_response, (PeerMisbehaved,)),
    "origin": Target(_origin, (MalformedOrigin,)),
    "context_file": Target(_context_file, (Failure,)),
    "saved_ref_file": Target(_saved_ref_file, (Failure,)),
    "quantity": Target(_quantity, (Failure,)),
    "path": Target(_path, (MalformedPath,)),
    "payload": Target(_payload, (Failure,)),
    "lines": Target(_lines, (Failure,)),
    "command_line": Target(_command_line, (Failure,)),
}
