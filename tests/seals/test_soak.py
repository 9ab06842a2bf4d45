"""What takes minutes: idle streams, a reader that stands still, and what the seal costs.

pytest -m soak tests/seals/test_soak.py -s
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.seals.conftest import Worker
    from tests.support.program import Program

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

SECONDS = 100  # one frame in each
STILL = 90  # seconds
SIZE = 64 << 20  # more than the engine and the systems' buffers hold
LARGE = 256 << 20
ROUNDS = 15
# Of processor seconds, for the way that costs more: into a worker of Node or Rust, where reading is so cheap
# that the digest shows (hash-wasm does 1.5 GiB a second). Out of one, larger frames win more than it costs.
LIMITS = {"python": 1.1, "rust": 1.2, "node": 1.25}


def test_a_frame_each_second_and_a_reader_that_stands_still(
    iii: Program, worker: Worker, tmp_path: Path
) -> None:
    """All at once. An SDK reader of Python ends after 40 s on the real engine and on the embedded one."""
    slowly = f"cmd:for i in $(seq {SECONDS}); do echo $i; sleep 1; done"
    (tmp_path / "large").write_bytes(bytes(SIZE))
    iii.refs("x")
    began = time.monotonic()
    out = iii.start(
        "trigger", f"{worker}::produce", f"ticks={SECONDS}", "--out", "-", "--require-seal", "--timeout", "0"
    )
    into = iii.start("trigger", f"{worker}::keep", "--in", slowly, "--timeout", "0")
    plain = iii.start("trigger", f"{worker}::plain_count", "--in", slowly, "--timeout", "0")
    behind = iii.start(
        "channel", "read", "env:x_r", "--require-seal", "--", "sh", "-c", f"sleep {STILL}; wc -c"
    )
    call = iii.start(
        "trigger", f"{worker}::produce", f"bytes={SIZE}", "--ref", "stdout=env:x_w", "--timeout", "0"
    )
    still = iii.start(
        "trigger", f"{worker}::keep", f"pause={STILL}", "--in", str(tmp_path / "large"), "--timeout", "0"
    )
    words = ("ticks=1", "every=80", "--out", "-", "--require-seal", "--timeout", "0")
    idle = iii.start("trigger", f"{worker}::produce", *words)  # a reader gives up after 60 s without a beat
    said = {
        name: (*process.communicate(timeout=SECONDS + 120), process.returncode)
        for name, process in {
            "out": out, "into": into, "behind": behind, "call": call, "still": still, "plain": plain,
            "idle": idle,
        }.items()
    }  # fmt: skip
    print(f"\n{worker}: {time.monotonic() - began:.0f} s;", "without a seal:", said["plain"])
    assert said["out"] == ("".join(f"{i}\n" for i in range(SECONDS)).encode(), said["out"][1], 0)
    assert (said["into"][2], json.loads(said["into"][0])["bytes"]) == (
        0,
        sum(len(f"{i}\n") for i in range(1, SECONDS + 1)),
    )
    assert (said["behind"][2], said["behind"][0].strip()) == (0, str(SIZE).encode()), said["behind"]
    assert said["call"][2] == 0, said["call"]
    assert (said["idle"][2], said["idle"][0]) == (0, b"0\n"), said["idle"]
    assert (said["still"][2], json.loads(said["still"][0])["bytes"]) == (0, SIZE), said["still"]


def test_what_the_seal_costs(iii: Program, worker: Worker, tmp_path: Path) -> None:
    """256 MiB each way, with it and without in turn: medians of the time, and of what every processor did for
    `iii`, the engine and the worker together. Other programs disturb the one more than the other.
    """
    (tmp_path / "large").write_bytes(bytes(range(256)) * (LARGE >> 8))
    source, null = ("--in", str(tmp_path / "large")), ("--out", "/dev/null", f"bytes={LARGE}")
    ways = {
        "in, sealed": ("count", *source),
        "in, bare": ("plain_count", *source, "--no-seal"),
        "out, sealed": ("produce", *null),
        "out, bare": ("plain_produce", *null),
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    used: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, (function, *words) in ways.items():
            began, before = time.monotonic(), processor_seconds(worker)
            done = iii.run("trigger", f"{worker}::{function}", *words, limit=120)
            took[way].append(time.monotonic() - began)
            used[way].append(processor_seconds(worker) - before)
            assert done.returncode == 0, done.stderr
    for what, of in (("MiB/s", took), ("MiB for a second of processor", used)):
        rates = {way: round((LARGE >> 20) / median(seconds)) for way, seconds in of.items()}
        ratios = {
            way: round(median(of[f"{way}, sealed"]) / median(of[f"{way}, bare"]), 3) for way in ("in", "out")
        }
        print(f"\n{worker}: {what} {rates}; sealed by bare: {ratios}")
    assert max(ratios.values()) < LIMITS[worker]


def processor_seconds(worker: Worker) -> float:
    """Of the worker, the engine, and the commands that have ended."""
    ticks = [
        int(field)
        for process in (worker.pid, worker.engine)
        for field in Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[11:13]
    ]
    ended = os.times()
    return sum(ticks) / os.sysconf("SC_CLK_TCK") + ended.children_user + ended.children_system
