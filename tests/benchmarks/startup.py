"""How long short commands take, beside `python -c pass`: what a loop in a shell pays for each turn."""

from __future__ import annotations

import sys
import time
from subprocess import PIPE
from typing import TYPE_CHECKING

from tests.benchmarks.processes import reap, start
from tests.benchmarks.results import TIMES, Result, at_most, median
from tests.support.calls import create_channel
from tests.support.program import III
from tests.support.refs import token_of

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

__all__ = ("starts",)

NOTHING = "python -c pass"
AIMS = {
    "iii --version": 6.0,
    "iii channel create": 8.0,
    "iii trigger": 8.0,
    "iii channel write": 14.0,
}


def starts(bench: Bench) -> Result:
    """Each command in turn, in each round."""
    times: dict[str, list[float]] = {}
    for _ in range(bench.sizes.starts + 1):
        for name, words, given in _commands(bench):
            times.setdefault(name, []).append(_timed(words, given))
    for measured in times.values():
        del measured[0]  # that one filled the caches
    nothing = times[NOTHING]
    rows = [
        [f"`{name}`", f"{1000 * median(got):.0f}", f"{_ratio(got, nothing):.1f}{TIMES}"]
        for name, got in times.items()
    ]
    aims = [
        at_most(f"`{name}` against `{NOTHING}`, wall time", aim, _ratio(times[name], nothing))
        for name, aim in AIMS.items()
    ]
    note = (
        "From the start of the process to its end. `trigger` calls a built-in function of the engine; "
        "`channel write` writes one byte, sealed, and waits until the engine has it."
    )
    return Result("Start-up", note, ["command", "ms", "against nothing"], rows, aims)


def _commands(bench: Bench) -> list[tuple[str, list[str], bytes]]:
    url = ["--url", bench.engine.url]
    writer, _ = create_channel(bench.engine.url)
    return [
        (NOTHING, [sys.executable, "-c", "pass"], b""),
        ("iii --version", [III, "--version"], b""),
        ("iii --help", [III, "--help"], b""),
        ("iii channel create", [III, *url, "channel", "create"], b""),
        ("iii trigger", [III, *url, "trigger", "engine::channels::create"], b""),
        ("iii channel write", [III, *url, "-q", "channel", "write", token_of(writer)], b"x"),
    ]


def _timed(words: list[str], given: bytes) -> float:
    begun = time.perf_counter()
    process = start(words, PIPE)
    process.communicate(given) if given else process.stdin and process.stdin.close()
    used = reap(process) if process.returncode is None else None
    seconds = time.perf_counter() - begun
    if (used.status if used else process.returncode) != 0:
        raise RuntimeError(f"{words[1:]} ended with {process.returncode}")
    return seconds


def _ratio(got: list[float], nothing: list[float]) -> float:
    return median(ours / bare for ours, bare in zip(got, nothing, strict=True))
