"""`iii serve` as people and service managers run it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import group_runs
from tests.support.program import III, Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Service:
    """A running `iii serve`, whose stderr is read line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def line(self) -> str:
        """The next line on stderr; empty when it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode().rstrip("\n")

    def until(self, text: str) -> str:
        """The next line that holds `text`."""
        while line := self.line():
            if text in line:
                return line
        raise AssertionError(f"ended without saying {text!r}")

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Signal it; the exit status, and what it still said."""
        self.process.send_signal(signum)
        return self.end()

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said.decode()


@contextmanager
def serving(iii: Program, *words: str, wait: bool = True) -> Iterator[Service]:
    process = iii.start("serve", *words, stdout=subprocess.DEVNULL)
    service = Service(process)
    try:
        if wait:
            assert service.line() == f"iii: serving {words[0]}"
        yield service
    finally:
        process.kill()
        process.communicate()


def gate(folder: Path) -> int:
    """A FIFO on which a command waits for a line: `sh -c 'read line <go'`."""
    os.mkfifo(folder / "go")
    return os.open(folder / "go", os.O_RDWR)


def wait_for(path: Path) -> None:
    """Until the command has made the file."""
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.005)


def test_a_filter_is_a_function(iii: Program) -> None:
    iii.refs("i", "o")
    with serving(iii, "text::upper", "--", "tr", "a-z", "A-Z") as service:
        done = iii.shell(
            "iii trigger text::upper --ref stdin=env:i_r --ref stdout=env:o_w > result & call=$!\n"
            "seq 100000 | sed s/^/line/ | iii channel write env:i_w & iii channel read env:o_r; wait $call"
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b"".join(b"LINE%d\n" % n for n in range(1, 100001))
        result = json.loads((iii.home / "result").read_text())
        assert result["exit_code"] == 0
        assert result["stdin_bytes"] == result["stdout_bytes"] == len(done.stdout)
        info = json.loads(iii.ok("functions", "info", "text::upper", "--json"))
        assert info["description"].startswith("Runs tr: ")
        assert info["request_schema"]["required"] == ["stdin", "stdout"]
        assert service.stop() == (0, "iii: SIGTERM received; ending\n")
    assert iii.run("trigger", "text::upper").returncode == 5


def test_a_json_filter_with_a_schema_and_once(iii: Program, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"a": {"type": "integer"}}}')
    words = ("json::echo", "--stdin", "json", "--stdout", "result", "--once", "--description", "Echoes")
    with serving(iii, *words, "--schema", str(tmp_path / "s.json"), "--", "cat") as service:
        info = json.loads(iii.ok("functions", "info", "json::echo", "--json"))
        assert info["description"] == "Echoes"
        assert info["request_schema"]["properties"]["a"] == {"type": "integer"}
        assert json.loads(iii.ok("trigger", "json::echo", "a=5"))["json"] == {"a": 5}
        assert service.end() == (0, "")


@pytest.mark.ci
def test_once_ends_as_the_command_did(iii: Program) -> None:
    words = ("text::fail", "--stdin", "none", "--stdout", "result", "--once", "--")
    with serving(iii, *words, "sh", "-c", "echo no luck >&2; exit 3") as service:
        failed = iii.run("trigger", "text::fail")
        assert failed.returncode == 1
        body = json.loads(failed.stderr.decode().removeprefix("Error: "))
        assert (body["code"], body["message"]) == ("command_failed", "sh exited 3: no luck")
        assert json.loads(body["stacktrace"])["exit_code"] == 3
        assert service.end() == (11, "no luck\niii: sh exited 3\n")


@pytest.mark.ci
def test_a_name_that_is_taken(iii: Program) -> None:
    with serving(iii, "text::mine", "--", "cat") as first:
        second = iii.run("serve", "text::mine", "--", "cat")
        assert second.returncode == 1
        assert b"the function text::mine is taken in namespace default by worker" in second.stderr
        assert f":{first.process.pid}:".encode() in second.stderr, "the owner's name holds its pid"
        assert second.stderr.count(b"\n") == 1
        with serving(iii, "text::mine", "--standby", "--", "cat", wait=False) as standby:
            assert "is taken" in standby.line()
            assert first.stop()[0] == 0
            assert standby.line() == "iii: serving text::mine"


@pytest.mark.ci
def test_sigterm_lets_a_call_end(iii: Program, tmp_path: Path) -> None:
    go = gate(tmp_path)
    script = f"cd {tmp_path}; touch began; read line <go; echo done"
    with serving(
        iii, "text::slow", "--stdin", "none", "--stdout", "result", "--", "sh", "-c", script
    ) as service:
        call = iii.start("trigger", "text::slow")
        wait_for(tmp_path / "began")
        service.process.terminate()
        assert "waiting for 1 call" in service.line()
        assert iii.run("trigger", "text::slow").returncode == 5, "no new calls"
        os.write(go, b"\n")
        out, _ = call.communicate(timeout=10)
        assert json.loads(out)["stdout"] == "done\n"
        assert service.end() == (0, "")
    os.close(go)


@pytest.mark.ci
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_call_that_does_not_end_is_stopped(
    iii: Program, tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    script = f"cd {tmp_path}; echo $$ >pid; mv pid began; sleep 60"
    words = ("text::endless", "--stdin", "none", "--shutdown-timeout", "100ms", "--", "sh", "-c", script)
    with serving(iii, *words) as service:
        _, reader = (writer_reader := iii.channel())
        (tmp_path / "w").write_text(writer_reader[0])
        reading = iii.start("channel", "read", reader, "-o", str(tmp_path / "out"))
        call = iii.start("trigger", "text::endless", "--ref", f"stdout=file:{tmp_path / 'w'}")
        wait_for(tmp_path / "began")
        got, said = service.stop(signum)
        assert got == status
        assert "stopping 1 call" in said
        out, err = call.communicate(timeout=10)
        assert (call.returncode, out) == (9, b"")
        assert b"invocation_stopped" in err
        _, err = reading.communicate(timeout=10)
        assert reading.returncode == 7
        assert b"the call was stopped" in err
    assert not (tmp_path / "out").exists()
    assert not group_runs(int((tmp_path / "began").read_text()))


@pytest.mark.ci
def test_a_second_signal_ends_everything_at_once(iii: Program, tmp_path: Path) -> None:
    script = f"trap '' TERM; cd {tmp_path}; echo $$ >pid; mv pid began; while :; do sleep 9; done"
    words = ("text::stubborn", "--stdin", "none", "--stdout", "result", "--", "sh", "-c", script)
    with serving(iii, *words) as service:
        call = iii.start("trigger", "text::stubborn")
        wait_for(tmp_path / "began")
        service.process.send_signal(signal.SIGINT)
        assert "waiting for 1 call (once more to stop at once)" in service.line()
        assert service.stop(signal.SIGINT)[0] == 130
        call.communicate(timeout=10)
        assert call.returncode == 9
    assert not group_runs(int((tmp_path / "began").read_text()))


def test_killed_in_the_middle_of_a_call(iii: Program, tmp_path: Path) -> None:
    script = f"head -c 100000 /dev/zero; cd {tmp_path}; touch began; sleep 60"
    with serving(iii, "text::doomed", "--stdin", "none", "--", "sh", "-c", script) as service:
        writer, reader = iii.channel()
        (tmp_path / "w").write_text(writer)
        reading = iii.start("channel", "read", reader, "-o", str(tmp_path / "out"))
        call = iii.start("trigger", "text::doomed", "--ref", f"stdout=file:{tmp_path / 'w'}")
        wait_for(tmp_path / "began")
        service.process.kill()
        _, err = call.communicate(timeout=10)
        assert call.returncode == 9
        assert b"invocation_stopped" in err
        reading.communicate(timeout=10)
        assert reading.returncode == 7
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["f"], 2, "no COMMAND"),
        (["f", "--"], 2, "no COMMAND"),
        (["", "--", "cat"], 2, "blank"),
        (["engine::f", "--", "cat"], 2, "the engine's own"),
        (["f", "--stdin", "x", "--", "cat"], 2, "--stdin is ref, json or none"),
        (["f", "--max-parallel", "0", "--", "cat"], 2, "at least 1"),
        (["f", "--timeout", "soon", "--", "cat"], 2, "--timeout"),
        (["f", "--cwd", "/no/such", "--", "cat"], 10, "/no/such"),
        (["f", "--schema", "/no/such", "--", "cat"], 10, "/no/such"),
        (["f", "--", "/no/such/command"], 127, "/no/such/command"),
        (["f", "--", "/etc"], 126, "is a folder"),
    ],
)
@pytest.mark.ci
def test_what_is_refused_before_anything_is_served(
    tmp_path: Path, words: list[str], status: int, said: str
) -> None:
    done = Program(tmp_path, "ws://127.0.0.1:1").run("serve", *words)
    assert done.returncode == status, done.stderr
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_relative_command_is_looked_for_where_it_runs(iii: Program, tmp_path: Path) -> None:
    script = tmp_path / "here.sh"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    options = ("--stdin", "none", "--stdout", "result", "--cwd", str(tmp_path))
    with serving(iii, "text::here", *options, "--", "./here.sh"):
        done = iii.ok("trigger", "text::here")
    assert json.loads(done)["stdout"] == f"{tmp_path.resolve()}\n"


@pytest.mark.ci
def test_no_engine_is_3(tmp_path: Path) -> None:
    done = Program(tmp_path, "ws://127.0.0.1:1").run("serve", "f", "--", "cat")
    assert done.returncode == 3
    assert b"no engine at" in done.stderr


@pytest.mark.ci
def test_functions_come_back_with_the_engine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    with running_engine("--port", port) as (url, engine):
        iii = Program(tmp_path, url)
        with serving(iii, "text::again", "--stdin", "json", "--stdout", "result", "--", "cat") as service:
            iii.ok("trigger", "text::again")
            engine.kill()
            assert "was lost" in service.line()
            time.sleep(2)  # longer than the first attempt waits
            with running_engine("--port", port):
                assert service.line() == "iii: serving text::again again"
                iii.ok("trigger", "text::again")
                assert service.stop()[0] == 0


@pytest.mark.ci
def test_quiet_is_quiet(iii: Program) -> None:
    words = ("text::q", "-q", "--stdin", "none", "--stdout", "result", "--", "sh", "-c", "echo said >&2")
    with serving(iii, *words, wait=False) as service:
        iii.ok("functions", "wait", "text::q")
        assert json.loads(iii.ok("trigger", "text::q"))["stderr_tail"] == "said\n"
        assert service.stop() == (0, "")


@pytest.mark.ci
def test_it_runs_clean_as_the_first_process(iii: Program) -> None:
    """As in a container without an init: orphans become its children, and signals have no default action."""
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not make a pid namespace")
    script = "(sleep 0.01 &) >/dev/null 2>&1; grep -sl '^State:.Z' /proc/[0-9]*/status | wc -l"
    words = ("text::orphans", "--stdin", "none", "--stdout", "result", "--", "sh", "-c", script)
    process = subprocess.Popen([*alone, III, "serve", *words], env=iii.env, stderr=subprocess.PIPE)
    service = Service(process)
    try:
        assert service.line() == "iii: serving text::orphans"
        for _ in range(3):
            iii.ok("trigger", "text::orphans")
        counts = [json.loads(iii.ok("trigger", "text::orphans"))["json"] for _ in range(3)]
        assert 0 in counts, "the orphans of the calls before are buried"
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        with open(children) as file:
            os.kill(int(file.read()), signal.SIGTERM)
        assert service.end() == (0, "iii: SIGTERM received; ending\n")
    finally:
        process.kill()
