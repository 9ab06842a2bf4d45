"""`iii bench` as people run it: what it prints, how it ends, and what it leaves."""

from __future__ import annotations

import json
import shutil
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.calls import call
from tests.support.marks import in_ci
from tests.support.program import Program, running_engine
from tests.support.screen import on_screen

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

FIGURES = {"count", "mean", "p50", "p90", "p99", "max"}


def document(iii: Program, *words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(iii.ok("bench", *words, "--json"))
    assert told["url"] == iii.env["III_URL"]
    assert told["complete"] is True
    return told


def becomes(busy: bool, url: str) -> bool:
    """Asks until the engine has channels or functions of workers, or has none."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        health = call(url, "engine::health::check", {})
        functions = call(url, "engine::functions::list", {})["functions"]
        if busy is bool(functions or health["components"]["embedded"]["details"]["open_channels"]):
            return True
    return False


def test_a_channel(iii: Program) -> None:
    told = document(iii, "channel", "--size", "3M", "-P", "2")
    assert (told["bytes"], told["channels"], told["verified"]) == (3 << 20, 2, 2)
    assert told["bytes_per_second"] == pytest.approx(told["bytes"] / told["seconds"], rel=0.01)


def test_a_limit_on_open_files_is_not_blamed_on_the_engine(iii: Program) -> None:
    done = iii.shell("ulimit -n 30; iii bench channel -P 16 --size 32M")
    assert done.returncode == 10, done.stderr
    assert b"too many open files" in done.stderr
    assert b"no engine" not in done.stderr


def test_calls_of_our_own_function(iii: Program) -> None:
    told = document(iii, "trigger", "--count", "20", "-P", "4")
    assert (told["calls"], told["latency_ms"]["count"], told["function"]) == (20, 20, None)
    assert told["latency_ms"].keys() == FIGURES


def test_round_trips(iii: Program) -> None:
    told = document(iii, "rtt", "--count", "5", "-n", "orders")
    for way in ("engine", "call", "channels"):
        assert told[way].keys() == FIGURES
        assert told[way]["count"] == 5


def test_the_figures_are_milliseconds_and_in_order(iii: Program) -> None:
    told = document(iii, "trigger", "engine::health::check", "--count", "1")
    spread = told["latency_ms"]
    assert spread["p50"] == spread["mean"] == spread["max"] <= told["seconds"] * 1000 + 0.001
    spread = document(iii, "trigger", "engine::health::check", "--count", "200")["latency_ms"]
    assert 0 < spread["p50"] <= spread["p90"] <= spread["p99"] <= spread["max"]


def test_tables_for_a_person(iii: Program) -> None:
    status, shown = on_screen(iii, "bench", "trigger", "--count", "5", columns=120)
    said, header, row, spreads, spread = shown.splitlines()
    assert (status, header.split()[:3], row.split()[2]) == (0, ["FUNCTION", "PARALLEL", "CALLS"], "5")
    assert (spreads.split()[-1], spread.split()[1]) == ("MAX", "5")
    assert said.startswith("iii: measuring")
    assert "\t" in iii.ok("bench", "channel", "--size", "1")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("channel --size 0", 2),
        ("trigger no::such", 5),
        *in_ci(
            ("channel --duration 0", 2),
            ("channel -P 257", 2),
            ("trigger --count 0", 2),
            ("trigger --payload {", 2),
            ("rtt --url ws://127.0.0.1:9", 3),
        ),
    ],
)
def test_what_cannot_be_is_said_and_prints_nothing(iii: Program, words: str, status: int) -> None:
    done = iii.run("-q", "bench", *words.split())
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr


@pytest.mark.ci
def test_a_mistyped_function_is_answered_with_the_nearest(iii: Program) -> None:
    assert (
        b"did you mean 'engine::health::check'?" in iii.run("bench", "trigger", "engine::health::chek").stderr
    )


def test_a_call_that_fails_ends_it_with_1(iii: Program) -> None:
    done = iii.run("-q", "bench", "trigger", "engine::functions::info", "--count", "3")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"Error: ")


@pytest.mark.ci
def test_a_soft_limit_is_raised(iii: Program) -> None:
    assert iii.shell("ulimit -Sn 60; iii bench channel -P 40 -q --size 1M").returncode == 0


@contextmanager
def started(iii: Program, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that has said that it measures; gone with the block."""
    process = iii.start("bench", *words, "--json", "--duration", "1m")
    try:
        assert process.stderr is not None
        assert b"measuring" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_signal_before_anything_was_measured_prints_that(iii: Program) -> None:
    with started(iii, "rtt") as process:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert json.loads(out)["complete"] is False


@pytest.mark.ci
@pytest.mark.parametrize(
    ("kind", "signum"),
    [("channel", signal.SIGINT), ("channel", signal.SIGTERM), ("trigger", signal.SIGINT)],
)
def test_a_signal_prints_what_was_measured_and_leaves_nothing(
    tmp_path: Path, kind: str, signum: signal.Signals
) -> None:
    with running_engine() as (url, _), started(Program(tmp_path, url), kind) as process:
        assert becomes(True, url)
        process.send_signal(signum)
        out, error = process.communicate(timeout=10)
        assert process.returncode == 128 + signum
        assert json.loads(out)["complete"] is False
        assert error.count(b"\n") == 1
        assert becomes(False, url)


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["channel", "trigger"])
def test_an_engine_that_dies_in_the_middle_is_3(tmp_path: Path, kind: str) -> None:
    with running_engine() as (url, engine), started(Program(tmp_path, url), kind) as process:
        assert becomes(True, url)
        engine.kill()
        out, error = process.communicate(timeout=10)
    assert (process.returncode, out) == (3, b"")
    assert error.count(b"\n") == 1


@pytest.mark.ci
def test_the_examples_of_its_help_run(iii: Program) -> None:
    for line in ("channel --size 64M", "trigger -P 16 --count 1000", "rtt --duration 500ms"):
        assert iii.shell(f"iii bench {line}").returncode == 0
    if shutil.which("jq"):
        done = iii.shell(
            "iii bench trigger engine::health::check --duration 500ms --json | jq .latency_ms.p99\n"
            "iii bench rtt --count 200 --json | jq .channels.p50\n"
            "iii bench channel -P 8 --duration 500ms --json | jq .bytes_per_second"  # 10s in the help
        )
        assert done.returncode == 0
        assert all(float(line) > 0 for line in done.stdout.splitlines())
