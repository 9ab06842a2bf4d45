"""Calls per second of `iii trigger --each -P 64`, beside a bare client that keeps 64 calls in flight.

    python -m tests.benchmarks.each [--calls 10000] [--rounds 3]

Both call the same echo worker on the same embedded engine, one after the other in each round. The bare client
does nothing but send and count; ours parses each line, checks and orders the answers, and its time includes
the start of the process. The aim is a ratio of at least 0.4.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from tests.benchmarks.invocations import FUNCTION, IN_FLIGHT, call
from tests.support.program import III


def each(url: str, calls: int) -> float:
    """Seconds that the command takes, from its start to its end."""
    lines = b"".join(b'{"n":%d}\n' % number for number in range(calls))
    words = [III, "trigger", FUNCTION, "--each", "-P", str(IN_FLIGHT), "--url", url]
    begun = time.perf_counter()
    done = subprocess.run(words, input=lines, stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - begun
    if done.stdout.count(b'{"ok":true,') != calls:
        raise SystemExit("not every call was answered")
    return seconds


def _start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def main() -> None:
    """Run the rounds and print a line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    engine, url = _start("iii_cli", "engine", "run", "--port", "0", "--print-url", "--log", "off", "-q")
    worker, _ = _start("tests.benchmarks.invocations", "work", "--url", url)
    try:
        for _ in range(options.rounds):
            bare = options.calls / call(url, options.calls)
            ours = options.calls / each(url, options.calls)
            sys.stdout.write(f"{ours:8.0f} calls/s   {bare:8.0f} bare calls/s   ratio {ours / bare:.2f}\n")
    finally:
        for process in (worker, engine):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
