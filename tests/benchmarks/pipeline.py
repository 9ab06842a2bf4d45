"""`iii pipe` through three served filters, beside three `iii trigger` that the shell chains.

    python -m tests.benchmarks.pipeline [--mebibytes 1024] [--rounds 2] [COMMAND COMMAND COMMAND]

The same filters (`tr a-z A-Z`, `cat`, `cat`) on the same embedded engine, one way after the other in each
round, from a file to a digest. A line for each: seconds, and the CPU seconds of our own processes (`iii
pipe`, or the three `iii trigger`), of the engine, and of the workers. `local` is the plain pipe.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.benchmarks.processes import Engine, engine, reap, start
from tests.support.calls import wait_for_functions
from tests.support.program import III

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK = b"the quick brown fox jumps over the lazy dog, and is %010d\n"


def write_input(path: str, mebibytes: int) -> None:
    """Lines that differ."""
    with open(path, "wb") as file:
        number = 0
        while file.tell() < mebibytes << 20:
            file.write(b"".join(BLOCK % (number * 7919 % 10**10 + at) for at in range(10_000)))
            number += 1
        file.truncate(mebibytes << 20)


def cpu_of(pids: Sequence[int]) -> float:
    """Seconds that these have used, with their children that are gone."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(commands: Sequence[Sequence[str]], path: str, broker: Engine, workers: Sequence[int]) -> str:
    """Run them as a pipe from the file into md5sum; the digest. Prints a line."""
    engine_before, workers_before = broker.cpu(), cpu_of(workers)
    begun = time.perf_counter()
    with ExitStack() as stack:
        source: int = stack.enter_context(open(path, "rb")).fileno()
        running: list[subprocess.Popen[bytes]] = []
        for words in commands:
            process = start(words, source, subprocess.PIPE, III_URL=broker.url)
            assert process.stdout is not None
            if running:
                os.close(source)
            source = os.dup(process.stdout.fileno())
            process.stdout.close()
            running.append(process)
        digest = subprocess.run(["md5sum"], stdin=source, stdout=subprocess.PIPE, check=True).stdout.decode()
        os.close(source)
        used = [reap(process) for process in running]
    seconds = time.perf_counter() - begun
    if any(each.status for each in used):
        raise SystemExit(f"it failed: {used}")
    ours, theirs = sum(each.cpu for each in used), cpu_of(workers) - workers_before
    name = " ".join(commands[0][:2] if commands[0][0] == III else ["local"]).rpartition("/")[2]
    sys.stdout.write(
        f"{name:12} {seconds:7.2f} s   ours {ours:6.2f}   engine {broker.cpu() - engine_before:6.2f}   "
        f"workers {theirs:6.2f} CPU s\n"
    )
    sys.stdout.flush()
    return digest


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("filters", nargs="*", default=["tr a-z A-Z", "cat", "cat"], metavar="COMMAND")
    options = parser.parse_args()
    names = [f"bench::stage{number}" for number in range(len(options.filters))]
    with tempfile.NamedTemporaryFile() as source, engine(None) as broker:
        write_input(source.name, options.mebibytes)
        workers = []
        for name, command in zip(names, options.filters, strict=True):
            words = [III, "-q", "serve", name, "--", *command.split()]
            workers.append(start(words, III_URL=broker.url, LC_ALL="C"))
        wait_for_functions(broker.url, *names)
        pids = [worker.pid for worker in workers]
        triggers = [
            [III, "trigger", name, "--in", "-", "--out", "-", "--result", "/dev/null"] for name in names
        ]
        ways = {
            "pipe": [[III, "pipe", *names]],
            "trigger": triggers,
            "local": [["env", "LC_ALL=C", *command.split()] for command in options.filters],
        }
        for _ in range(options.rounds):
            digests = {measured(commands, source.name, broker, pids) for commands in ways.values()}
            if len(digests) > 1:
                raise SystemExit(f"the outputs differ: {digests}")
        for worker in workers:
            worker.terminate()
            worker.wait()


if __name__ == "__main__":
    main()
