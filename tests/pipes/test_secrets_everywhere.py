"""Every command, by its documented forms, with secrets of four kinds: none of them tells one."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.processes import children_of
from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = "ab" * 16
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


class Place(NamedTuple):
    """A guarded engine, a program that may use it, and what nobody may see."""

    iii: Program
    token: str
    header: str

    def hidden(self) -> list[str]:
        """Everything secret by now: the keys of the saved refs too."""
        shown = [self.iii.ok("ref", "show", name, "--end", "reader") for name in ("x", "y")]
        return [self.token, self.header, *(token.strip().rsplit(":", 1)[1] for token in shown)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The token comes from a file, read-only and behind a link as Kubernetes mounts it; so do the headers."""
    token, header = secrets.token_hex(16), secrets.token_hex(16)
    (tmp_path / "..data").mkdir()
    for name, text in (("token", f"{token}\n"), ("headers", f"x-api-key: {header}\n")):
        (tmp_path / "..data" / name).write_text(text)
        (tmp_path / "..data" / name).chmod(0o444)
        (tmp_path / name).symlink_to(tmp_path / "..data" / name)
    (tmp_path / "in").write_text("data\n")
    with running_engine("--token-file", str(tmp_path / "token")) as (url, _):
        iii = Program(tmp_path, url)
        iii.env |= {"III_TOKEN_FILE": str(tmp_path / "token"), "TRACEPARENT": f"00-{TRACE}-{'cd' * 8}-01"}
        yield Place(iii, token, header)


def everything_about(pid: int) -> str:
    """What `ps` and /proc show of a process: its arguments, and its environment."""
    return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()


@pytest.mark.ci
@LINUX
@pytest.mark.timeout(120)
def test_what_every_command_says(place: Place, tmp_path: Path) -> None:
    iii = place.iii
    words = ("serve", "s::cat", "--verbose", "--header", f"@{tmp_path / 'headers'}", "--", "cat")
    serving = iii.start(*words)
    iii.ok("functions", "wait", "s::cat", "--timeout", "20s")
    iii.ok("channel", "create", "--save", "x")
    iii.ok("channel", "create", "--save", "y")
    hidden = place.hidden()
    context = ("prod", iii.env["III_URL"], "--token-file", str(tmp_path / "token"))
    said = [
        iii.run("--verbose", "--header", f"@{tmp_path / 'headers'}", *line)
        for line in (
            ("functions", "ls", "--all", "--json"),
            ("functions", "info", "s::cat"),
            ("workers", "ls", "--json"),
            ("context", "add", *context),
            ("context", "ls"),
            ("context", "show", "prod", "--json"),
            ("context", "show", "prod"),
            ("functions", "ls", "--context", "prod"),
            ("ref", "ls", "--json"),
            ("ref", "ls"),
            ("trigger", "engine::workers::list"),
            (
                "trigger",
                "s::cat",
                "--in",
                f"stdin={tmp_path / 'in'}",
                "--out",
                "stdout=-",
                "--progress",
                "json",
            ),
            ("trigger", "s::cat", "--dry-run", "--ref", "stdin=@x/reader", "--ref", "stdout=@y/writer"),
            ("trigger", "s::cat", "--ref", "stdin=@x/reader", "--ref", "stdout=@y/writer", "--timeout", "1s"),
            ("trigger", "s::cat", "--help"),
            ("trigger", "no::such", "--ref", "r=@x/reader"),
            ("trace", "show", TRACE),
            ("doctor",),
            ("engine", "exec", "--", "env"),
            ("demo",),
            ("channel", "read", "@x", "--timeout", "1s"),
            ("channel", "write", "@x", "--timeout", "2s", "--", "env"),
            ("help", "environment"),
        )
    ]
    serving.terminate()
    out, err = serving.communicate(timeout=20)
    text = "".join((done.stdout + done.stderr).decode() for done in said) + (out + err).decode()
    assert "iii" in text
    assert "Traceback" not in text
    for done in said:
        for key in hidden:
            assert key not in (done.stdout + done.stderr).decode(), done.args
            assert key not in " ".join(done.args)
    for key in hidden:
        assert key not in (out + err).decode()


@pytest.mark.ci
@LINUX
def test_what_ps_shows_while_they_run(place: Place, tmp_path: Path) -> None:
    """Of each process that lasts, and of the COMMANDs that they start."""
    iii = place.iii
    iii.ok("channel", "create", "--save", "x")
    iii.ok("channel", "create", "--save", "y")
    hidden = place.hidden()
    sleeper = ("--", "sh", "-c", "exec 2>&- >&-; sleep 60")
    running = [
        iii.start("serve", "s::sleep", *sleeper, stderr=subprocess.DEVNULL),
        iii.start("channel", "write", "@x", *sleeper),
        iii.start("channel", "read", "@x", *sleeper),
        iii.start("trigger", "s::sleep", "--in", "stdin=cmd:sleep 60", "--out", "stdout=-"),
        iii.start("engine", "exec", "--", "sleep", "60"),
    ]
    try:
        wanted = [True, True, True, True, True]
        until = time.monotonic() + 20
        while [bool(children_of(process.pid)) for process in running] != wanted:
            assert time.monotonic() < until, [process.poll() for process in running]
            if running[3].poll() is not None:  # before the function was there
                running[3].communicate()
                running[3] = iii.start(
                    "trigger", "s::sleep", "--in", "stdin=cmd:sleep 60", "--out", "stdout=-"
                )
            time.sleep(0.1)
        pids = [process.pid for process in running]
        pids += [child for pid in list(pids) for child in children_of(pid)]
        assert len(pids) >= 10
        for pid in pids:
            for key in hidden:
                assert key not in everything_about(pid), Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.communicate(timeout=20)


@pytest.mark.ci
def test_a_token_file_that_everyone_may_change(place: Place, tmp_path: Path) -> None:
    """One notice, and it is used: it is not ours to refuse. Nothing is said of one that all may read."""
    done = place.iii.run("functions", "ls", "--all")
    assert (done.returncode, done.stderr) == (0, b"")
    os.chmod(tmp_path / "token", 0o666)
    done = place.iii.run("functions", "ls", "--all")
    assert (done.returncode, done.stderr.count(b"\n"), b"chmod o-w" in done.stderr) == (0, 1, True)
    assert place.token.encode() not in done.stderr
