"""`wss://`: what is trusted, what is not, and what a stream through TLS is worth."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci, in_ci_but
from tests.support.program import Program, refused
from tests.support.tls import OPENSSL, Authority, tls_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="needs the openssl command")

LOCAL = ("DNS:localhost", "IP:127.0.0.1")
PATHS = {
    "one line": ("channel", "create"),
    "read": ("channel", "read", "iii:read:a:b"),
    "write": ("channel", "write", "iii:write:a:b"),
    "serve": ("serve", "f", "--", "cat"),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "Test Authority")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("server", *LOCAL)


@pytest.fixture(scope="module")
def gateway(engine_url: str, certificate: tuple[Path, Path]) -> Iterator[str]:
    with tls_proxy(engine_url, certificate) as url:
        yield url


@pytest.mark.parametrize("path", in_ci_but(["read"], PATHS))
def test_an_unknown_authority_is_not_trusted(tmp_path: Path, gateway: str, path: str) -> None:
    refused(Program(tmp_path, gateway).run(*PATHS[path]), 3, "is not trusted", "--cacert")


def test_a_stream_through_tls(tmp_path: Path, gateway: str, authority: Authority) -> None:
    iii = Program(tmp_path, gateway)
    trust = ("--cacert", str(authority.file))
    data = hashlib.shake_256(b"seed").digest(8 << 20)
    iii.ok("channel", "create", "--save", "x", *trust)
    reading = iii.start("channel", "read", "@x", *trust)
    iii.ok("channel", "write", "@x", *trust, stdin=data)
    assert reading.communicate(timeout=20)[0] == data
    assert reading.returncode == 0
    assert "engine::channels::create" in iii.ok("functions", "ls", "--all", *trust)


@pytest.mark.parametrize("by", ["flags", *in_ci("context")])
@pytest.mark.parametrize("elsewhere", ["the default", *in_ci("the same engine", "another engine")])
def test_a_saved_ref_remembers_how_its_engine_is_trusted(
    tmp_path: Path,
    gateway: str,
    engine_url: str,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    elsewhere: str,
) -> None:
    monkeypatch.chdir(authority.folder)
    trust = ("--cacert", authority.file.name)  # relative, and used from elsewhere
    iii = Program(tmp_path)
    words: tuple[str, ...] = ("--url", gateway, *trust)
    if by == "context":
        iii.ok("context", "add", "prod", gateway, *trust)
        words = ("--context", "prod")
    iii.ok("channel", "create", "--save", "x", *words)
    iii.ok("ref", "save", "y", "@x/reader")
    token = iii.ok("ref", "show", "x", "--end", "reader")
    iii.env |= {"the same engine": {"III_URL": gateway}, "another engine": {"III_URL": engine_url}}.get(
        elsewhere, {}
    )
    monkeypatch.chdir(tmp_path)
    with iii.start("channel", "read", "@y") as reading:
        iii.ok("channel", "write", "@x", stdin=b"data")
        assert reading.communicate(timeout=20)[0] == b"data"
    monkeypatch.chdir(authority.folder)
    iii.ok("ref", "save", "y", "-", *words, stdin=token.encode())
    refused(iii.run("channel", "read", "@y"), 6, "already used")  # the engine says so


@pytest.mark.parametrize("fault", ["authority", *in_ci("no TLS", "TLS", "name", "certificate", "nobody")])
def test_what_is_wrong_with_the_engine_of_a_saved_ref(
    tmp_path: Path,
    gateway: str,
    engine_url: str,
    authority: Authority,
    certificate: tuple[Path, Path],
    fault: str,
) -> None:
    """The hint is about the cause, where there is one: how the ref was saved does not help then."""
    iii = Program(tmp_path)
    trust = ("--cacert", str(authority.file))
    other = authority.sign("other", "DNS:other.test")
    with (
        tls_proxy(engine_url, other) as named,
        tls_proxy(engine_url, certificate, clients=authority.file) as asking,
    ):
        at, more, said = {
            "authority": (gateway, (), "is not trusted: "),
            "no TLS": (engine_url.replace("ws:", "wss:"), (), f"; if it speaks no TLS, use {engine_url}\n"),
            "TLS": (gateway.replace("wss:", "ws:"), (), f"; if it speaks TLS, use {gateway}\n"),
            "name": (named, trust, "; if that is your engine: --server-name other.test"),
            "certificate": (asking, trust, "; it wants a certificate of yours: --cert FILE --key FILE"),
            "nobody": ("ws://127.0.0.1:9", (), "; @x is of that engine, whatever III_URL says; "),
        }[fault]
        iii.ok(
            "--url",
            at,
            *more,
            "ref",
            "save",
            "x",
            "-",
            stdin=Program(tmp_path, engine_url).channel()[0].encode(),
        )
        refused(iii.run("channel", "write", "@x"), 3, said)
        if fault == "authority":
            refused(iii.run("channel", "write", "@x"), 3, "; name its authority with --cacert FILE")


@pytest.mark.ci
def test_a_tls_connection_that_is_cut_is_no_good_end(
    tmp_path: Path, engine_url: str, certificate: tuple[Path, Path], authority: Authority
) -> None:
    iii = Program(tmp_path, engine_url)
    writer, reader = iii.channel()
    with tls_proxy(engine_url, certificate, cut_after=1 << 20) as url:
        reading = iii.start("channel", "read", reader, "--url", url, "--cacert", str(authority.file))
        writing = iii.start("channel", "write", writer, "/dev/zero")
        out, err = reading.communicate(timeout=20)
    assert (reading.returncode, err.count(b"\n")) == (7, 1), err
    assert len(out) >= 1 << 19
    writing.communicate(timeout=20)
    assert writing.returncode == 9


@pytest.mark.parametrize("path", ["one line", *in_ci("serve", "read")])
def test_the_name_in_the_certificate_counts(
    tmp_path: Path, engine_url: str, authority: Authority, path: str
) -> None:
    trust = ("--cacert", str(authority.file))
    names = ("DNS:*.test", "DNS:other.test", "IP:10.0.0.1", "DNS:a.test", "DNS:b.test")
    with tls_proxy(engine_url, authority.sign("elsewhere", *names)) as url:
        iii = Program(tmp_path, url)
        said = (
            f"the certificate of {url} is not for localhost, but for *.test, other.test, 10.0.0.1 and "
            "others; if that is your engine: --server-name other.test"
        )
        refused(iii.run(*trust, *PATHS[path]), 3, said)
        iii.ok(*PATHS["one line"], *trust, "--server-name", "other.test")
        address = url.replace("localhost", "127.0.0.1")
        wrong = ("--url", address, *PATHS[path])
        refused(iii.run(*trust, *wrong), 3, "is not for 127.0.0.1, but for *.test")


@pytest.mark.ci
@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        ("20200101000000Z", "20200201000000Z", "expired"),
        ("20990101000000Z", "20990201000000Z", "not yet valid"),
    ],
    ids=["expired", "not yet valid"],
)
def test_a_certificate_has_its_time(
    tmp_path: Path, engine_url: str, authority: Authority, begins: str, ends: str, said: str
) -> None:
    trust = ("--cacert", str(authority.file))
    with tls_proxy(engine_url, authority.sign_for(begins, begins, ends, *LOCAL)) as url:
        for words in (PATHS["one line"], PATHS["serve"], PATHS["write"]):
            refused(Program(tmp_path, url).run(*trust, *words), 3, "is not trusted", said)


@pytest.mark.ci
def test_a_certificate_that_vouches_for_itself(tmp_path: Path, engine_url: str, authority: Authority) -> None:
    """Not trusted, unless it is the very one that was named."""
    certificate, key = authority.self_signed("itself", *LOCAL)
    with tls_proxy(engine_url, (certificate, key)) as url:
        iii = Program(tmp_path, url)
        for words in (PATHS["one line"], PATHS["serve"], PATHS["read"]):
            refused(iii.run(*words), 3, "is not trusted", "self-signed")
            refused(iii.run("--cacert", str(authority.file), *words), 3, "is not trusted")
        iii.ok(*PATHS["one line"], "--cacert", str(certificate))


@pytest.mark.ci
def test_a_gateway_that_wants_a_certificate_of_ours(
    tmp_path: Path, engine_url: str, authority: Authority, certificate: tuple[Path, Path]
) -> None:
    ours, key = authority.sign("client")
    trust = ("--cacert", str(authority.file))
    with tls_proxy(engine_url, certificate, clients=authority.file) as url:
        iii = Program(tmp_path, url)
        for words in PATHS.values():
            refused(iii.run(*trust, *words), 3, url)
        iii.ok(*PATHS["one line"], *trust, "--cert", str(ours), "--key", str(key))


@pytest.mark.parametrize("path", ["one line", *in_ci("serve", "read")])
def test_tls_where_there_is_none_and_none_where_there_is(
    tmp_path: Path, engine_url: str, gateway: str, path: str
) -> None:
    iii, words = Program(tmp_path), PATHS[path]
    tls, plain = engine_url.replace("ws:", "wss:"), gateway.replace("wss:", "ws:")
    refused(iii.run("--url", f"{tls}/path", *words), 3, f"; if it speaks no TLS, use {engine_url}/path\n")
    refused(iii.run("--url", f"{plain}/path", *words), 3, f"; if it speaks TLS, use {gateway}/path\n")


@pytest.mark.ci
def test_files_that_are_no_certificates(
    tmp_path: Path, gateway: str, authority: Authority, certificate: tuple[Path, Path]
) -> None:
    iii = Program(tmp_path, gateway)
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("nothing")
    for words in (PATHS["one line"], PATHS["serve"], PATHS["read"]):
        refused(iii.run("--cacert", str(tmp_path / "none"), *words), 10, "none")
        refused(iii.run("--cacert", str(rubbish), *words), 10, "rubbish")
        mismatch = ("--cert", str(certificate[0]), "--key", str(rubbish))
        refused(iii.run("--cacert", str(authority.file), *mismatch, *words), 10, "rubbish")
        refused(iii.run("--key", str(certificate[1]), *words), 2, "--cert")


def test_system_trust_is_what_openssl_takes_for_it(
    tmp_path: Path, gateway: str, authority: Authority
) -> None:
    iii = Program(tmp_path, gateway)
    iii.env["SSL_CERT_FILE"] = str(authority.file)
    iii.ok(*PATHS["one line"])
