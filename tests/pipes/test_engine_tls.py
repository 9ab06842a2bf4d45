"""`iii engine run --tls-cert`: `wss://` without a proxy."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.program import Program, refused, running_engine
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, Frame, RawSocket, Refused
from tests.support.refs import target_of
from tests.support.stage import Stage
from tests.support.tls import OPENSSL, Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="needs the openssl command")
LOCAL = ("DNS:localhost", "IP:127.0.0.1")


@pytest.fixture
def anyio_backend() -> str:
    """RawSocket is asyncio's."""
    return "asyncio"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "Test Authority")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("server", *LOCAL)


@pytest.fixture(scope="module")
def secure(certificate: tuple[Path, Path]) -> Iterator[str]:
    """The URL of an engine with that certificate."""
    file, key = certificate
    with running_engine("--tls-cert", str(file), "--tls-key", str(key)) as (url, _):
        yield url


@pytest.fixture
def iii(tmp_path: Path, secure: str, authority: Authority) -> Program:
    program = Program(tmp_path, secure)
    program.options = ("--cacert", str(authority.file))
    return program


@pytest.fixture
async def stage(secure: str, authority: Authority) -> AsyncIterator[SecureStage]:
    stage = SecureStage(secure, ssl.create_default_context(cafile=authority.file))
    yield stage
    await stage.close()


class SecureStage(Stage):
    """Sockets through TLS."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        super().__init__(url)
        self._context = context

    async def open(self, target: str, *headers: str, **options: object) -> RawSocket:
        return await super().open(target, *headers, tls=self._context, **options)


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


@needs_openssl
def test_streams_and_calls_through_tls(iii: Program, secure: str) -> None:
    assert secure.startswith("wss://localhost:")
    data = hashlib.shake_256(b"seed").digest(8 << 20)
    iii.ok("channel", "create", "--save", "x")
    with iii.start("channel", "read", "@x") as reading:
        iii.ok("channel", "write", "@x", stdin=data)
        assert reading.communicate(timeout=20)[0] == data
        assert reading.returncode == 0
    assert "engine::channels::create" in iii.ok("functions", "ls", "--all")
    with iii.start("serve", "f", "--", "tr", "a-z", "A-Z") as serving:
        iii.ok("functions", "wait", "f", "--timeout", "10s")
        done = iii.run("trigger", "f", "--in", "-", "--out", "-", stdin=b"through")
        assert (done.returncode, done.stdout) == (0, b"THROUGH"), done.stderr
        serving.terminate()


@pytest.mark.ci
@needs_openssl
def test_a_reader_that_takes_its_time_gets_everything_through_tls(iii: Program) -> None:
    """The engine has to wait for the socket, amid a record."""

    def held_back() -> int:
        health = json.loads(iii.ok("trigger", "engine::health::check"))
        return int(health["components"]["embedded"]["details"]["buffered_bytes"])

    file = iii.home / "data"
    file.write_bytes(hashlib.shake_256(b"seed").digest(40 << 20))
    iii.ok("channel", "create", "--save", "x")
    with (
        iii.start("channel", "read", "@x") as reading,
        iii.start("channel", "write", "@x", str(file)) as writing,
    ):
        while held_back() < 8 << 20:  # until the reader's socket takes no more
            pass
        assert reading.communicate(timeout=20)[0] == file.read_bytes()
        assert (reading.returncode, writing.wait(20)) == (0, 0)


@pytest.mark.ci
@needs_openssl
def test_who_does_not_trust_it_and_who_speaks_plain_text_is_no_client(tmp_path: Path, secure: str) -> None:
    iii = Program(tmp_path)
    for words in (("channel", "create"), ("serve", "f", "--", "cat")):
        refused(iii.run("--url", secure, *words), 3, "is not trusted")
        refused(iii.run("--url", secure.replace("wss:", "ws:"), *words), 3)


@needs_openssl
async def test_sockets_are_as_without_tls(stage: SecureStage) -> None:
    writer, reader = [await stage.end(ref) for ref in await stage.refs()]
    frames = [Frame(opcode, b"x" * size) for size in (0, 1, 70_000, 3_000_000) for opcode in (TEXT, BINARY)]
    for frame in frames:
        writer.post(frame)
    await writer.send(CLOSE, b"\x03\xe8bye")
    assert [await reader.receive() for _ in frames] == frames
    assert await reader.receive_close() == (None, "")
    await reader.receive_end()
    assert await writer.receive_close() == (1000, "bye")
    worker = await stage.worker()
    await worker.quiet()
    telemetry = await stage.open("/otel")
    await telemetry.send(PING, b"x")
    assert await telemetry.receive() == Frame(PONG, b"x")


@needs_openssl
async def test_the_guard_is_as_without_tls(stage: SecureStage) -> None:
    with pytest.raises(Refused) as refusal:
        await stage.open("/nope")
    assert (refusal.value.status, refusal.value.body) == (404, "")
    authority = urlsplit(stage.url).netloc
    for origin, status in ((f"http://{authority}", 403), ("https://evil.example", 403)):
        with pytest.raises(Refused) as refusal:
            await stage.open("/", f"Origin: {origin}")
        assert refusal.value.status == status
    await stage.open("/", f"Origin: https://{authority}")  # that is what it is dialled as
    ref, _ = await stage.refs()
    with pytest.raises(Refused) as refusal:
        await stage.open(target_of(ref | {"access_key": "wrong"}))
    assert refusal.value.status == 404


@needs_openssl
def test_handshakes_that_do_not_go_on_hold_up_nobody(iii: Program, secure: str) -> None:
    with ExitStack() as stack:
        for said in (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n", bytes(1000)) * 20:
            half = stack.enter_context(socket.create_connection(address_of(secure)))
            half.sendall(said)
        iii.ok("channel", "create")


@needs_openssl
@pytest.mark.ci
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00"], ids=["silence", "half a word"])
def test_a_handshake_has_ten_seconds(secure: str, said: bytes) -> None:
    with socket.create_connection(address_of(secure)) as half:
        half.sendall(said)
        half.settimeout(9)
        with pytest.raises(TimeoutError):
            half.recv(1)
        half.settimeout(5)
        assert half.recv(1) == b""


@needs_openssl
def test_a_token_is_asked_for_through_tls(
    tmp_path: Path, authority: Authority, certificate: tuple[Path, Path]
) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    together = tmp_path / "both.pem"  # a certificate's file may hold its key
    together.write_bytes(b"".join(file.read_bytes() for file in certificate))
    with running_engine("--tls-cert", str(together), "--token-file", str(token)) as (url, _):
        iii = Program(tmp_path, url)
        iii.options = ("--cacert", str(authority.file))
        refused(iii.run("functions", "ls"), 4, url)
        iii.ok("functions", "ls", "--token-file", str(token))


@pytest.mark.ci
@needs_openssl
def test_files_that_make_no_certificate(
    tmp_path: Path, authority: Authority, certificate: tuple[Path, Path]
) -> None:
    file, key = map(str, certificate)
    other = str(authority.sign("other", *LOCAL)[1])
    rubbish, locked = tmp_path / "rubbish", tmp_path / "locked"
    rubbish.write_text("nothing")
    assert OPENSSL is not None
    lock = [OPENSSL, "ec", "-aes256", "-passout", "pass:secret", "-in", key, "-out", str(locked)]
    subprocess.run(lock, check=True, capture_output=True)
    iii = Program(tmp_path)
    for words, status, *said in (
        (("--tls-key", key), 2, "--tls-key needs --tls-cert"),
        (("--tls-cert", str(tmp_path / "none")), 10, "none"),
        (("--tls-cert", file), 10, file),
        (("--tls-cert", str(rubbish), "--tls-key", key), 10, "rubbish"),
        (("--tls-cert", file, "--tls-key", other), 10, other),
        (("--tls-cert", file, "--tls-key", str(locked)), 10, "locked"),
    ):
        refused(iii.run("engine", "run", "--port", "0", *words), status, *said)
