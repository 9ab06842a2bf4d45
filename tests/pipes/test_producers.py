"""`PRODUCER | iii channel write REF`: how the producer ended, where the kernel can tell.

Each producer writes a byte and goes on once that byte has reached the reader: by then the writer has looked
at who holds the other end of its stdin.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.marks import in_ci
from tests.support.program import III, Child

if TYPE_CHECKING:
    from tests.support.program import Program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how a producer ended")

SEEN = "until [ -e seen ]; do sleep 0.01; done"
HEAD = f"printf a; {SEEN}"
DOOMED = "sh doomed"  # is cat, and waits until it is killed
KILL = f"({SEEN}; kill -9 $(cat pid)) &"
PRELUDE = """
    mkfifo held
    echo 'echo $$ >pid; printf a; exec cat held' >doomed
    reading() {
        iii channel read env:x_r 2>reader.err | (head -c 1; touch seen; cat) >out
        exit ${PIPESTATUS[0]}
    }
    (reading) & reader=$!
"""

WHOLE, HALF = (0, 0), (11, 7)  # exit statuses of writer and reader


class Case(NamedTuple):
    """A producer; how writer and reader end under `warn` and `strict`; what the writer says under `warn`."""

    producer: str
    warn: tuple[int, int]
    strict: tuple[int, int]
    said: str = ""


CASES = {
    "ends well": Case(f"sh -c '{HEAD}; exit 0'", WHOLE, WHOLE),
    "exit 3": Case(f"sh -c '{HEAD}; seq 100000; exit 3'", WHOLE, HALF, "note: sh exited 3; the stream was"),
    "exit 1, as grep": Case(f"sh -c '{HEAD}; exit 1'", WHOLE, HALF, "note: sh exited 1; the stream was"),
    "exit 127": Case(f"sh -c '{HEAD}; exit 127'", HALF, HALF, "stream aborted: sh exited 127"),
    "exit 255": Case(f"sh -c '{HEAD}; exit 255'", HALF, HALF, "stream aborted: sh exited 255"),
    "exit 143": Case(f"sh -c '{HEAD}; exit 143'", HALF, HALF, "stream aborted: sh exited 143"),
    "killed": Case(f"{KILL} {DOOMED}", HALF, HALF, "stream aborted: cat was killed by SIGKILL"),
    "killed, its shell says 0": Case(f"{KILL} ({DOOMED}; true)", WHOLE, WHOLE),
    "killed, its shell says 3": Case(
        f"{KILL} ({DOOMED}; exit 3)", HALF, HALF, "stream aborted: cat was killed"
    ),
    "killed, its shell lives": Case(
        f"{KILL} bash -c '{DOOMED}; exec >&-; sleep 1'", HALF, HALF, "stream aborted: cat was killed"
    ),
    "a child fails, its shell says 0": Case(f"({HEAD}; false; true)", WHOLE, WHOLE),
    "timeout": Case(
        f"timeout 1 sh -c '{HEAD}; sleep 9'", HALF, HALF, "stream aborted: sh was killed by SIGTERM"
    ),
    "closes the pipe and lives": Case(f"sh -c '{HEAD}; exec >&-; sleep 1; exit 3'", WHOLE, WHOLE),
    "gone before the look": Case("false", WHOLE, HALF),
}


def write(iii: Program, producer: str, policy: str, then: str = "") -> tuple[int, int, str]:
    """Exit statuses of writer and reader, and what the writer said."""
    iii.refs("x")
    done = iii.shell(
        f"""{PRELUDE}
        {producer} | iii channel write env:x_w --producer {policy} {then} 2>writer.err
        writer=${{PIPESTATUS[-1]}}; wait $reader; echo $writer $?
        """
    )
    wrote, read = (int(word) for word in done.stdout.split()[-2:])
    return wrote, read, (iii.home / "writer.err").read_text()


@pytest.mark.parametrize("policy", ["warn", "strict"])
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name, marks=pytest.mark.ci) for name, case in CASES.items()]
)
def test_how_the_producer_ended(iii: Program, case: Case, policy: str) -> None:
    wrote, read, said = write(iii, case.producer, policy)
    assert (wrote, read) == (case.warn if policy == "warn" else case.strict), said
    if policy == "warn":
        assert said.startswith(f"iii: {case.said}" if case.said else ""), said
        assert said.count("\n") == (1 if case.said else 0)
    elif wrote:
        assert said.startswith("iii: stream aborted: "), said


def test_a_killed_producer_is_a_half(iii: Program) -> None:
    wrote, read, said = write(iii, CASES["killed"].producer, "warn")
    assert (wrote, read, said) == (11, 7, "iii: stream aborted: cat was killed by SIGKILL\n")
    assert (iii.home / "reader.err").read_text() == "iii: aborted by the writer: cat was killed by SIGKILL\n"


def test_another_failure_is_told_and_sealed(iii: Program) -> None:
    wrote, read, said = write(iii, CASES["exit 3"].producer, "warn")
    assert (wrote, read) == (0, 0)
    hint = "(--producer strict, or `-- COMMAND`, would abort it)"
    assert said == f"iii: note: sh exited 3; the stream was sealed as complete {hint}\n"
    (iii.home / "seen").unlink()
    (iii.home / "held").unlink()
    _, _, said = write(iii, CASES["exit 3"].producer, "warn", "--progress json")
    last = json.loads(said.splitlines()[-1])
    assert (last["exit"], last["producer"]) == (0, {"program": "sh", "exit": 3})


@pytest.mark.ci
def test_a_producer_before_a_process_substitution(iii: Program) -> None:
    """`tee` is killed; the shell holds the pipe too, and lives."""
    iii.refs("x")
    done = iii.shell(
        f"""{PRELUDE}
        echo 'iii channel write env:x_w 2>writer.err; echo $? >wrote' >writing
        echo 'echo $$ >pid; exec tee >(. ./writing) >/dev/null' >teeing
        {KILL}
        (printf a; cat held) | bash teeing &
        wait $reader; echo $?; until [ -s wrote ]; do sleep 0.02; done; cat wrote
        : >held
        """
    )
    assert done.stdout.split() == [b"7", b"11"], (done, (iii.home / "writer.err").read_text())
    assert (iii.home / "writer.err").read_text() == "iii: stream aborted: tee was killed by SIGKILL\n"


@pytest.mark.parametrize("reaped", [False, *in_ci(True)])
def test_a_parent_that_waits_for_us_first(iii: Program, reaped: bool) -> None:
    """Popen of both: the dead producer is a zombie as long as its parent waits for somebody else."""
    iii.refs("x")
    with (
        iii.start("channel", "read", "env:x_r", stdout=subprocess.PIPE) as reader,
        Child(["cat", "/dev/zero"], stdout=subprocess.PIPE) as cat,
        iii.start("channel", "write", "env:x_w", stdin=cat.stdout) as writer,
    ):
        assert cat.stdout is not None
        assert reader.stdout is not None
        cat.stdout.close()
        reader.stdout.read(1 << 20)
        cat.kill()
        if reaped:
            cat.wait(10)
        reader.stdout.read()
        assert writer.wait(10) == 11
        assert reader.wait(10) == 7


@pytest.mark.parametrize(
    ("verb", "gap"),
    [
        pytest.param(verb, gap, marks=[] if (verb, gap) == ("write", 0.04) else pytest.mark.ci)
        for verb in ("write", "tee", "trigger")
        for gap in (0.0, 0.04, 0.1, 0.2)
    ],
)
def test_a_pipeline_that_is_signalled_process_by_process(iii: Program, verb: str, gap: float) -> None:
    words = {
        "write": ("channel", "write", "env:x_w"),
        "tee": ("channel", "tee", "env:x_w"),
        "trigger": ("trigger", "test::copy", "--ref", "stdout=env:x_w", "--in", "-"),
    }[verb]
    iii.refs("x")
    serving = iii.start("serve", "test::copy", "--", "cat") if verb == "trigger" else None
    try:
        if serving is not None:
            iii.wait_for("test::copy")
        with (
            iii.start("channel", "read", "env:x_r", stdout=subprocess.PIPE) as reader,
            Child(["cat", "/dev/zero"], stdout=subprocess.PIPE) as cat,
            iii.start(*words, stdin=cat.stdout) as writer,
        ):
            assert cat.stdout is not None
            assert reader.stdout is not None
            cat.stdout.close()
            reader.stdout.read(1 << 20)
            cat.terminate()
            time.sleep(gap)  # the gap is what is tried
            writer.terminate()
            reader.stdout.read()
            assert reader.wait(10) == 7
            assert writer.wait(10) in ({143} if gap < 0.2 else {143, 11})
    finally:
        if serving is not None:
            serving.kill()
            serving.communicate()


def test_the_progress_signal_for_a_whole_job_ends_cat_and_not_us(iii: Program) -> None:
    iii.refs("x")
    with iii.start("channel", "read", "env:x_r", stdout=subprocess.PIPE) as reader:
        with subprocess.Popen(
            f"cat /dev/zero | {III} channel write env:x_w",
            shell=True,
            env=iii.env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as pipeline:
            assert reader.stdout is not None
            assert pipeline.stderr is not None
            reader.stdout.read(1 << 20)
            os.killpg(pipeline.pid, signal.SIGUSR1)
            reader.stdout.read()
            said = pipeline.stderr.read().decode()
        assert reader.wait(10) == 7
    assert "cat was killed by SIGUSR1" in said


@pytest.mark.ci
def test_what_producer_takes(iii: Program) -> None:
    done = iii.run("channel", "write", "iii:write:a:b", "--producer", "loud", stdin=b"")
    assert (done.returncode, done.stderr) == (2, b"iii: --producer is warn, strict or ignore\n")
    done = iii.run("channel", "write", "iii:write:a:b", stdin=b"", env={"III_PRODUCER": "loud"})
    assert done.returncode == 2
    wrote, read, said = write(iii, CASES["killed"].producer, "ignore")
    assert (wrote, read, said) == (0, 0, "")
