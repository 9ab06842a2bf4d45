"""`iii trigger` with streams, against an unmodified worker of the published Python SDK."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.calls import wait_for_functions
from tests.support.marks import in_ci
from tests.support.program import Child, Program, running_engine
from tests.support.screen import on_screen

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("iii", reason="the Python SDK is not installed")
DATA = bytes(range(256)) * 8192  # 2 MiB
UNVERIFIED = "the writer sent no seal: the end could not be verified"
QUICK = ("--linger", "100ms")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_engine() as (url, _):
        command = [sys.executable, str(Path(__file__).with_name("trigger_worker.py")), url]
        with Child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
            wait_for_functions(url, "py::digest", "py::dies")
            yield url
            worker.kill()


@pytest.fixture
def iii(url: str, tmp_path: Path) -> Program:
    (tmp_path / "in.bin").write_bytes(DATA)
    return Program(tmp_path, url)


def digest(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def err_of(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode()


@pytest.mark.parametrize("size", [len(DATA), *in_ci(0)])
def test_a_file_goes_in(iii: Program, tmp_path: Path, size: int) -> None:
    (tmp_path / "some").write_bytes(DATA[:size])
    done = iii.run("trigger", "py::digest", "--in", str(tmp_path / "some"))
    assert (done.returncode, err_of(done)) == (0, "")
    assert json.loads(done.stdout) == digest(DATA[:size])


@pytest.mark.parametrize("buffer", [None, *in_ci("1")])
def test_full_duplex(iii: Program, buffer: str | None) -> None:
    options = () if buffer is None else ("--buffer", buffer)
    done = iii.run("trigger", "py::echo", "--in", "-", "--out", "-", *options, stdin=DATA)
    assert (done.returncode, done.stdout == DATA) == (0, True), err_of(done)
    assert err_of(done) == json.dumps({"bytes": len(DATA)}, indent=2) + f"\niii: --out stdout: {UNVERIFIED}\n"


@pytest.mark.ci
def test_the_result_has_a_file_of_its_own(iii: Program, tmp_path: Path) -> None:
    out, result = tmp_path / "out.bin", tmp_path / "result.json"
    (tmp_path / "empty").touch()
    words = ("--in", str(tmp_path / "in.bin"), "--out", str(out), "--result", str(result))
    assert iii.ok("trigger", "py::echo", *words) == ""
    assert (out.read_bytes() == DATA, json.loads(result.read_text())) == (True, {"bytes": len(DATA)})


def test_a_result_that_overtakes_its_output_loses_nothing(iii: Program) -> None:
    done = iii.run("trigger", "py::overtakes", "size=300000", "--out", "-")
    assert (done.returncode, len(done.stdout)) == (0, 300_000)


@pytest.mark.ci
def test_a_result_that_overtakes_its_output_loses_nothing_in_20_of_20(iii: Program) -> None:
    sizes = [len(iii.run("trigger", "py::overtakes", "size=300000", "--out", "-").stdout) for _ in range(20)]
    assert sizes == [300_000] * 20


@pytest.mark.parametrize("size", [3 << 20, pytest.param(25 << 20, marks=pytest.mark.ci)])
def test_a_handler_that_goes_on_reading_after_its_answer_gets_everything(
    iii: Program, tmp_path: Path, size: int
) -> None:
    data = (DATA * (size // len(DATA) + 1))[:size]
    (tmp_path / "more").write_bytes(data)
    answer = json.loads(iii.ok("trigger", "py::started", "--in", str(tmp_path / "more")))
    assert answer == {"status": "started"}
    assert json.loads(iii.ok("trigger", "py::report")) == digest(data)


def test_an_input_that_is_never_opened_is_no_failure(iii: Program) -> None:
    done = iii.run("trigger", "py::ignore", "--in", "/dev/zero", *QUICK)
    assert done.returncode == 0
    assert err_of(done) == "iii: --in stdin: the function answered and never opened it\n"


def test_an_output_that_is_never_opened_is_6(iii: Program, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = iii.run("trigger", "py::ignore", "--out", str(out), *QUICK)
    assert (done.returncode, out.exists()) == (6, False)
    assert "--out stdout: the function answered and never opened it" in err_of(done)
    assert iii.run("trigger", "py::ignore", "--out", str(out), *QUICK, "--allow-empty").returncode == 0
    assert out.read_bytes() == b""


@pytest.mark.ci
def test_a_reader_that_has_enough_ends_the_input(iii: Program) -> None:
    done = iii.run("trigger", "py::reads_some", "--in", "/dev/zero")
    assert (done.returncode, err_of(done)) == (0, "")


def test_a_call_that_fails_leaves_no_file(iii: Program, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = iii.run("trigger", "py::fails_late", "--in", str(tmp_path / "in.bin"), "--out", str(out))
    assert (done.returncode, done.stdout, sorted(p.name for p in tmp_path.glob("*out*"))) == (1, b"", [])
    assert err_of(done).startswith('Error: {\n  "code": "invocation_failed",\n  "message": "no such table"')


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (("--stall-timeout", "300ms"), "nothing moved for 0.3 s (--stall-timeout)"),
        (("--timeout", "700ms"), "py::never took longer than 0.7 s"),
    ],
)
@pytest.mark.ci  # an abort is tried for 2 s
def test_a_function_that_does_nothing_ends_in_124(iii: Program, limit: tuple[str, str], words: str) -> None:
    done = iii.run("trigger", "py::never", "--in", "/dev/zero", "--out", "-", *limit)
    assert (done.returncode, done.stdout) == (124, b"")
    *sides, function = err_of(done).removeprefix(f"iii: {words}: ").split("; ")
    assert [re.sub(r" for [\d.]+ s", "", side) for side in sides] == [
        "--in stdin: nothing accepted: the function does not read",
        "--out stdout: nothing has come: the function has not begun to write",
    ]
    assert function == "the function has not answered\n"


@pytest.mark.parametrize(
    ("mode", "out"),
    [
        ("--text", "ab cd\n"),
        *in_ci(
            ("--lines", "a\nb c\nd\n\n"),
            ("--jsonl", '{"text":"a"}\n{"text":"b c"}\n{"text":"d\\n"}\n'),
        ),
    ],
)
def test_messages_come_out_as_asked(iii: Program, mode: str, out: str) -> None:
    done = iii.run("trigger", "py::messages", 'words=["a","b c","d\\n"]', "--out", "-", mode)
    assert (done.returncode, done.stdout.decode()) == (0, out)


@pytest.mark.ci
@pytest.mark.parametrize("mode", ["--text", "--lines"])
def test_messages_do_not_move_a_terminal_s_cursor(iii: Program, mode: str) -> None:
    words = json.dumps(["red \x1b[31m, back \u202e, title \x1b]0;x\x07."])
    typed = ("py::messages", f"words={words}", "--out", "-", mode)
    status, shown = on_screen(iii, "trigger", *typed)
    assert (status, shown.partition(".")[0]) == (0, "red , back , title "), shown
    assert "\x1b[31m" in iii.run("trigger", *typed).stdout.decode()


@pytest.mark.ci
def test_a_stream_of_messages_alone_is_not_lost_in_byte_mode(iii: Program) -> None:
    done = iii.run("trigger", "py::messages", 'words=["a"]', "--out", "-")
    assert (done.returncode, done.stdout) == (0, b"a")
    assert "iii: a\n" in err_of(done)
    assert "--text" in err_of(done)


@pytest.mark.ci
def test_progress_texts_are_shown_while_bytes_stream(iii: Program) -> None:
    done = iii.run("trigger", "py::progress", "--out", "-")
    assert (done.returncode, len(done.stdout)) == (0, 3 * 65536)
    assert err_of(done).count('iii: {"type": "progress"') == 3


@pytest.mark.ci
def test_lines_go_in_as_bare_messages(iii: Program) -> None:
    done = iii.run("trigger", "py::collect", "--in", "-", "--lines", stdin=b"one\ntwo")
    assert json.loads(done.stdout) == {"bytes": 0, "texts": ["one", "two"]}
    sealed = iii.run("trigger", "py::collect", "--in", "-", "--lines", "--seal", stdin=b"one\n")
    assert [text[:6] for text in json.loads(sealed.stdout)["texts"]] == ['{"iii"', "one", '{"iii"']


def test_a_ref_in_the_result_is_read(iii: Program) -> None:
    done = iii.run("trigger", "py::content", "size=100000", "--read", "content")
    assert (done.returncode, len(done.stdout)) == (0, 100_000)
    assert '"access_key": "***"' in err_of(done)


@pytest.mark.ci
def test_a_ref_in_the_result_that_brings_too_little_or_is_not_there(iii: Program, tmp_path: Path) -> None:
    out = tmp_path / "out"
    short = iii.run("trigger", "py::content", "size=100000", "say=100001", "--read", f"content={out}")
    assert (short.returncode, out.exists()) == (8, False)
    assert "--read content: the result says 100001 bytes, 100000 arrived" in err_of(short)
    lost = iii.run("trigger", "py::content", "size=1", "--read", "nowhere")
    assert lost.returncode == 1
    assert err_of(lost).endswith("iii: the result has no ref at nowhere\n")


@pytest.mark.ci
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_leaves_no_file(iii: Program, tmp_path: Path, signum: int, status: int) -> None:
    out = tmp_path / "out"
    words = ("trigger", "py::echo", "--in", "/dev/zero", "--out", f"cmd:tee {tmp_path}/seen > /dev/null")
    running = iii.start(*words, "--result", str(out))
    while not ((tmp_path / "seen").exists() and (tmp_path / "seen").stat().st_size):
        assert running.poll() is None
    running.send_signal(signum)
    _, err = running.communicate(timeout=10)
    assert (running.returncode, out.exists()) == (status, False), err


@pytest.mark.ci
def test_a_worker_that_dies_ends_the_call(iii: Program, url: str, tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("trigger_worker.py")), url, "mortal"]
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as mortal:
        assert mortal.stdout is not None
        assert mortal.stdout.readline() == b"ready\n"
        iii.ok("functions", "wait", "mortal::dies")
        out = tmp_path / "out"
        done = iii.run("trigger", "mortal::dies", "--in", str(tmp_path / "in.bin"), "--out", str(out))
    assert (done.returncode, out.exists()) == (9, False)
    assert '"code": "invocation_stopped"' in err_of(done)
