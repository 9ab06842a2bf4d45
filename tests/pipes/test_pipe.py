"""`iii pipe`: functions of several workers as one Unix pipeline."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipes.foreign import foreign_worker, read_frames, write_frames
from tests.pipes.slow_link import slow_link
from tests.support.program import Program, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILTERS = {
    "p::upper": ("--", "tr", "a-z", "A-Z"),
    "p::sort": ("--", "env", "LC_ALL=C", "sort"),
    "p::gzip": ("--", "gzip", "-1"),
    "p::cat": ("--", "cat"),
    "p::once": ("--max-parallel", "1", "--", "cat"),
    "p::fail": ("--", "sh", "-c", "cat > /dev/null; echo no luck >&2; exit 3"),
    "p::source": ("--stdin", "none", "--", "seq", "5"),
    "p::sink": ("--stdout", "result", "--", "wc", "-c"),
}


@pytest.fixture(scope="module", autouse=True)
def filters(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    program = Program(tmp_path_factory.mktemp("home"), engine_url)
    with ExitStack() as stack:
        running = [stack.enter_context(program.serving(name, *words)) for name, words in FILTERS.items()]
        yield
        for process in running:
            process.terminate()


def test_three_filters_are_the_local_pipe(iii: Program) -> None:
    feed = "seq 200000 | sed s/^/line/"
    done = iii.shell(
        f"{feed} | iii pipe p::upper p::sort p::gzip | gunzip | md5sum\n"
        f"{feed} | tr a-z A-Z | LC_ALL=C sort | md5sum"
    )
    ours, theirs = done.stdout.splitlines()
    assert (ours, done.stderr) == (theirs, b"")


def test_a_file_in_and_a_file_out_with_results(iii: Program, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"b\na\n")
    words = ("--in", f"{tmp_path}/in", "-o", f"{tmp_path}/out", "--results", f"{tmp_path}/results")
    assert iii.ok("pipe", "p::upper", "p::sort reverse=1", *words) == ""
    assert (tmp_path / "out").read_bytes() == b"A\nB\n"
    rows = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    assert [(row["stage"], row["function"], row["result"]["stdout_bytes"]) for row in rows] == [
        (1, "p::upper", 4),
        (2, "p::sort", 4),
    ]


def test_commands_at_both_ends(iii: Program, tmp_path: Path) -> None:
    iii.ok("pipe", "p::upper", "--in", "cmd:echo hi", "-o", f"cmd:cat > {tmp_path}/out")
    assert (tmp_path / "out").read_bytes() == b"HI\n"
    refused(iii.run("pipe", "p::upper", "--in", "cmd:exit 3", "-o", f"{tmp_path}/no"), 11, "exited 3")
    refused(iii.run("pipe", "p::upper", "-o", "cmd:exit 3", stdin=b"x"), 11, "exited 3")
    assert not (tmp_path / "no").exists()


def test_a_source_reads_nothing_of_ours_and_a_sink_writes_nothing(iii: Program, tmp_path: Path) -> None:
    done = iii.shell("seq 9 | (iii pipe p::source p::cat && cat)")
    assert done.stdout.split() == [b"%d" % n for n in (*range(1, 6), *range(1, 10))]
    assert iii.ok("pipe", "p::source", "p::sink", "--results", f"{tmp_path}/r") == ""
    assert json.loads((tmp_path / "r").read_text().splitlines()[1])["result"]["stdout"].strip() == "10"
    for option, word, stages in (("--in", "x", ("p::source", "p::cat")), ("-o", "x", ("p::cat", "p::sink"))):
        refused(iii.run("pipe", *stages, option, f"{tmp_path}/{word}"), 2, option, "has no place for a")


@pytest.mark.parametrize(
    ("stages", "status", "said"),
    [
        (["p::cat", "p::caat"], 5, "stage 2, p::caat: Function 'p::caat' is not registered; did you mean"),
        (["p::cat", "-n eu p::cat"], 5, "stage 2, p::cat: "),
        (["p::once", "p::once"], 2, "p::once is here 2 times and runs 1 at once"),
        (["p::cat", "p::source"], 2, "stage 2, p::source: its schema has no place for a reader"),
        (["p::sink", "p::cat"], 2, "stage 1, p::sink: its schema has no place for a writer"),
        (["p::cat 'a=1"], 2, "stage 1: not a STAGE"),
        (["p::cat", "--in", "/no/such"], 10, "/no/such"),
        (["p::cat", "-o", "/no/such/file"], 10, "/no/such"),
        (["p::cat", "--results", "x", "-o", "x"], 2, "same FILE"),
        (["p::cat", "--timeout", "soon"], 2, "--timeout"),
        (["p::source", "p::sink", "--stall-timeout", "1s"], 2, "--stall-timeout is about our own streams"),
        (["p::cat stdin=<", "--no-in"], 2, "--no-in contradicts stdin="),
        (["p::cat stdout=>", "--no-out"], 2, "--no-out contradicts stdout="),
        (["p::cat", "--no-in", "--in", "x"], 2, "--in: stage 1, p::cat has no place for a reader"),
    ],
)
def test_everything_is_checked_before_a_call_is_made(
    iii: Program, stages: list[str], status: int, said: str
) -> None:
    refused(iii.run("pipe", *stages, stdin=b"x"), status, said)


def test_the_stage_that_failed_is_named_and_no_file_is_left(iii: Program, tmp_path: Path) -> None:
    done = iii.run("pipe", "p::cat", "p::fail", "p::gzip", "-o", f"{tmp_path}/out", stdin=b"x" * 300_000)
    refused(done, 1, "stage 2, p::fail: command_failed: sh exited 3: no luck")
    assert not (tmp_path / "out").exists()


def test_a_pipe_that_is_closed_ends_it_quietly(iii: Program) -> None:
    done = iii.shell("yes | iii pipe p::cat p::cat p::cat | head -1; echo ${PIPESTATUS[@]}")
    assert (done.stdout, done.stderr) == (b"y\n141 141 0\n", b"")


def test_errexit_and_pipefail_stop_a_script(iii: Program) -> None:
    script = "set -euo pipefail; {} | iii pipe p::cat {} | cat; echo went on"
    assert iii.shell(script.format("echo hi", "p::upper")).stdout == b"HI\nwent on\n"
    failed = iii.shell(script.format("echo hi", "p::fail"))
    assert (failed.returncode, failed.stdout) == (1, b"")


def test_the_plan_is_drawn(iii: Program) -> None:
    assert iii.ok(
        "pipe", "p::upper", "-n default p::sink n=1", "--dry-run", "--in", "in.csv"
    ).splitlines() == [
        "in.csv",
        "  | channel 1 -> stdin",
        "1 p::upper",
        "  | stdout -> channel 2 -> stdin",
        '2 -n default p::sink {"n": 1}',
    ]


SERVED = {"iii": {"serve": {"max_parallel": 4}}}


def test_a_stage_that_read_other_bytes_than_were_written(iii: Program, tmp_path: Path) -> None:
    def lie(data: Any) -> Any:
        read_frames(iii.url, data["stdin"])
        write_frames(iii.url, data["stdout"], [b"other"])
        return {"stdin_digest": "00" * 16, "stdin_verified": True}

    with foreign_worker(iii.url, SERVED, **{"p::lie": lie}):
        done = iii.run("pipe", "p::cat", "p::lie", "-o", f"{tmp_path}/out", stdin=b"x")
    refused(done, 8, "stage 2, p::lie has read other bytes than stage 1, p::cat wrote")
    assert not (tmp_path / "out").exists()


def test_a_stage_that_seals_nothing(iii: Program, tmp_path: Path) -> None:
    """As the SDKs: what it wrote is read, and named where a seal is required."""

    def copy(data: Any) -> None:
        frames = read_frames(iii.url, data["stdin"])
        write_frames(iii.url, data["stdout"], [frame for frame in frames if isinstance(frame, bytes)])

    with foreign_worker(iii.url, **{"p::sdk": copy}):
        done = iii.run("pipe", "p::sdk", "p::upper", stdin=b"x")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"X", b"")
        done = iii.run("pipe", "p::upper", "p::sdk", stdin=b"x")
        assert (done.returncode, done.stdout) == (0, b"X")
        assert b"output: the writer sent no seal" in done.stderr
        required = ("--require-seal", "-o", f"{tmp_path}/out")
        refused(
            iii.run("pipe", "p::sdk", "p::upper", *required, stdin=b"x"), 7, "stage 2, p::upper: its input"
        )
        refused(iii.run("pipe", "p::upper", "p::sdk", *required, stdin=b"x"), 7, "output: ", "no seal")
        assert not (tmp_path / "out").exists()
        sink = iii.run("pipe", "p::upper", "p::sdk", "p::cat", "p::sink", stdin=b"x")
        assert (sink.returncode, sink.stderr) == (0, b"")


@pytest.mark.ci
def test_our_process_moves_the_input_once_and_the_output_once(iii: Program, tmp_path: Path) -> None:
    size, passed = 8 << 20, [0, 0]
    (tmp_path / "in").write_bytes(bytes(size))
    with slow_link(iii.url, None, None, passed) as url:
        files = ("--in", f"{tmp_path}/in", "-o", f"{tmp_path}/out")
        iii.ok("--url", url, "pipe", "p::cat", "p::cat", "p::cat", *files)
    assert (tmp_path / "out").read_bytes() == bytes(size)
    assert all(size <= count < size * 1.01 for count in passed), passed
