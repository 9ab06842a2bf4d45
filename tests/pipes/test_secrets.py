"""Nobody who should not sees a key: not `ps`, not a COMMAND, not a log, not an error."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.keys import JSON, KEY, READER, TOKEN, WRITER
from tests.support.marks import in_ci, in_ci_but
from tests.support.program import III, Child, Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

NOWHERE = "ws://127.0.0.1:9"
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


def key_of(token: str) -> str:
    return token.rsplit(":", 1)[1].strip()


LINES = (
    ("channel", "read", READER),
    ("channel", "read", READER, "--url", NOWHERE),
    ("channel", "read", WRITER),
    ("channel", "read", JSON),
    ("channel", "read", JSON[:-1]),
    ("channel", "read", f"iii:reed:aaaa:{KEY}"),
    ("channel", "read", f"@{READER}"),
    ("channel", "read", f"file:{READER}"),
    ("channel", "read", f"env:{READER}"),
    ("channel", "read", READER, READER),
    ("channel", "read", "-o", READER, READER),
    ("channel", "write", WRITER, "--", "true"),
    ("channel", "write", READER),
    ("channel", "tee", WRITER, WRITER),
    ("trigger", "f", "--ref", f"r={READER}"),
    ("trigger", "f", "--ref", READER),
    ("trigger", "f", f"r={JSON}"),
    ("trigger", "f", "--in", READER),
    ("trigger", "f", "--out", f"@{READER}"),
    ("trigger", "f", "--json", f'{{"r":{JSON}'),
    ("ref", "save", READER, "-"),
    ("ref", "save", "x", f"iii:reed:{KEY}"),
    ("ref", "show", READER),
    ("ref", "rm", READER),
    ("serve", "f", "--", READER),
    ("functions", "ls", "--url", f"ws://127.0.0.1:9/?token={TOKEN}"),
    ("functions", "ls", "--url", f"ws://user:{TOKEN}@127.0.0.1:9"),
    ("functions", "ls", "--url", f"ws://127.0.0.1:{TOKEN}"),
    ("functions", "ls", "--url", NOWHERE, "--header", f"authorization=Bearer {TOKEN}"),
    ("functions", "ls", "--url", NOWHERE, "--header", f"authorization {TOKEN}\x01"),
    ("functions", "ls", "--url", NOWHERE),
    ("context", "add", "x", NOWHERE, "--token", TOKEN),
)


@pytest.mark.parametrize(
    "number",
    in_ci_but([0, 3, 6, 16, 20, 27, 31], range(len(LINES))),
    ids=[" ".join(words).replace(KEY, "KEY").replace(TOKEN, "TOKEN")[:50] for words in LINES],
)
def test_no_error_repeats_a_secret(iii: Program, number: int) -> None:
    done = iii.run("--verbose", *LINES[number], env={"III_TOKEN": TOKEN, "PYTHONDEVMODE": "1"})
    assert done.returncode != 0
    said = (done.stdout + done.stderr).decode()
    assert KEY not in said
    assert TOKEN not in said
    assert "Traceback" not in said


def test_a_token_in_the_wrong_place_is_not_repeated(iii: Program) -> None:
    done = iii.run("functions", "ls", env={"III_TOKEN": f"{TOKEN} and\nmore"})
    assert (done.returncode, TOKEN in done.stderr.decode()) == (2, False)
    done = iii.run("functions", "ls", "--token-file", "-", stdin=f"{TOKEN} and more".encode())
    assert (done.returncode, TOKEN in done.stderr.decode()) == (2, False)
    done = iii.run("functions", "ls", env={"III_TOKEN_FILE": "-"}, stdin=TOKEN.encode())
    assert (done.returncode, b"names a file" in done.stderr) == (2, True), (
        "only an option makes stdin a token"
    )


@LINUX
def test_a_command_is_not_given_what_it_does_not_need(iii: Program, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    writer, reader = iii.channel()
    iii.env |= {"III_TOKEN": TOKEN, "III_TOKEN_FILE": "/some/where"}
    out = tmp_path / "out"
    iii.env["III_READER"] = reader
    reading = iii.start("channel", "read", "--", "sh", "-c", f"env >{out}; cat >>{out}")
    iii.env |= {"MINE": writer}
    del iii.env["III_READER"]
    iii.ok("channel", "write", "env:MINE", "--", "sh", "-c", f"env | tee {seen}")
    reading.communicate(timeout=20)
    assert reading.returncode == 0
    for environment in (seen.read_text(), out.read_text()):
        assert "III_TOKEN_FILE=/some/where" in environment
        assert key_of(writer) not in environment
        assert TOKEN not in environment


@LINUX
@pytest.mark.parametrize("form", ["@x", *in_ci("file:ref", "env:MINE", "default")])
def test_ps_shows_no_key(iii: Program, tmp_path: Path, form: str) -> None:
    writer = _kept(iii)
    (tmp_path / "ref").write_text(writer)
    words = [form.replace("ref", str(tmp_path / "ref"))] if form != "default" else []
    if variable := {"env:MINE": "MINE", "default": "III_WRITER"}.get(form):
        iii.env[variable] = writer
    writing = iii.start("channel", "write", *words, "--", "sh", "-c", "echo $$; exec sleep 30")
    with Child(
        [III, "channel", "read", "@x"], env=iii.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as reading:
        assert reading.stdout is not None
        child = int(reading.stdout.readline())
        for pid in (writing.pid, child):
            assert key_of(writer) not in Path(f"/proc/{pid}/cmdline").read_text()
        assert key_of(writer) not in Path(f"/proc/{child}/environ").read_text()
        writing.terminate()
        writing.communicate(timeout=20)


def test_the_engine_log_holds_no_key(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with open(log, "wb") as file:
        engine = subprocess.Popen(
            [III, "engine", "run", "--port", "0", "--print-url", "--log", "json"],
            stdout=subprocess.PIPE,
            stderr=file,
        )
    assert engine.stdout is not None
    iii = Program(tmp_path, engine.stdout.readline().decode().strip())
    writer, reader = iii.channel()
    reading = iii.start("channel", "read", reader)
    iii.ok("channel", "write", writer, stdin=b"x")
    reading.communicate(timeout=20)
    iii.run("channel", "read", reader)
    iii.run("channel", "read", READER)
    iii.ok("functions", "ls", "--url", f"{iii.env['III_URL']}/?token={TOKEN}")
    engine.terminate()
    engine.communicate(timeout=10)
    said = log.read_text()
    assert said.count("channel end opened") == 4
    assert "Channel not found" in said
    for secret in (key_of(writer), KEY, TOKEN):
        assert secret not in said


@pytest.fixture
def loose_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("loose_umask")
def test_what_we_keep_is_for_us_alone_whatever_the_umask(iii: Program, tmp_path: Path) -> None:
    writer, _ = iii.channel()
    iii.ok("channel", "create", "--save", "x")
    iii.ok("ref", "save", "y", "-", stdin=writer.encode())
    done = iii.run("context", "add", "prod", "wss://example.test", "--token-file", "-", stdin=TOKEN.encode())
    assert done.returncode == 0, done.stderr
    kept = [path for path in tmp_path.rglob("*") if "iii-cli" in path.parts]
    assert any(TOKEN in path.read_text() for path in kept if path.is_file())
    for path in kept:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


@pytest.mark.ci
def test_a_raw_ref_on_a_terminal_is_warned_of_once(tmp_path: Path) -> None:
    import pty

    with running_engine() as (url, _):
        iii = Program(tmp_path, url)
        ours, theirs = pty.openpty()
        done = subprocess.run(
            [III, "channel", "read", READER],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=iii.env,
        )
        os.close(theirs)
        said = os.read(ours, 65536).decode()
        os.close(ours)
    assert done.returncode == 5
    assert said.count("ps") == 1
    assert KEY not in said


def _kept(iii: Program) -> str:
    """The writer's token of a channel that is also saved as x."""
    iii.ok("channel", "create", "--save", "x")
    return iii.ok("ref", "show", "x", "--end", "writer").strip()
