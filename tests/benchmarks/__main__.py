"""Measure `iii` beside what people would use in its place, and write RESULTS.md.

    python -m tests.benchmarks [PART...] [--url URL] [--peers FOLDER] [--before PYTHON] [--rounds N]

Everything goes through one engine, the embedded one unless --url names another. Peers that are not installed
are skipped by name; `peers.py` says how to install them. `--before` measures another version of ours as one
more of them, by the `python` that it is installed for. A part that is named alone is measured again, the
others stay as they were.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import relay, scaling, startup, throughput
from tests.benchmarks.bench import FULL, TINY, Bench
from tests.benchmarks.peers import peers_in
from tests.benchmarks.processes import engine
from tests.benchmarks.results import keep, page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.benchmarks.processes import Engine
    from tests.benchmarks.results import Result

PARTS: dict[str, Callable[[Bench], Result]] = {
    "file": throughput.file,
    "pipes": throughput.pipes,
    "lines": throughput.lines,
    "messages": throughput.messages,
    "trips": throughput.trips,
    "relay": relay.relays,
    "starts": startup.starts,
    "sizes": scaling.sizes,
    "memory": scaling.memory,
    "pairs": scaling.pairs,
    "channels": scaling.channels,
}
HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts, and after each of them write what is known by then."""
    options = _options(arguments)
    peers, missing = peers_in(options.peers, options.before)
    if missing:
        sys.stderr.write(f"not installed, so not measured: {', '.join(missing)}\n")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, engine(options.url) as running:
        sizes = TINY if options.tiny else FULL
        bench = Bench(running, peers, Path(folder), options.rounds, sizes)
        for name in options.parts or PARTS:
            sys.stderr.write(f"{name}\n")
            result = PARTS[name](bench)
            context = _context(running, options, name)
            context["peers"] = ", ".join(f"{peer.name} {peer.version}" for peer in peers)
            if missing:
                context["not installed"] = ", ".join(missing)
            kept = keep(options.out / "results.json", name, result, context)
            target = options.out / "RESULTS.md"
            old = target.read_text() if target.exists() else ""
            target.write_text(page(kept, list(PARTS), old))  # type: ignore[arg-type]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--url", help="an engine that runs already")
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "iii-bench", metavar="FOLDER")
    parser.add_argument("--before", type=Path, metavar="PYTHON", help="of another version of ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="only to see that the measurements work")
    parser.add_argument("--out", type=Path, default=HERE, metavar="FOLDER", help="where the results go")
    return parser.parse_args(arguments)


def _context(running: Engine, options: argparse.Namespace, name: str) -> dict[str, str]:
    packages = ("anyio", "typer", "websockets", "xxhash")
    words = "python -m tests.benchmarks" if running.pid is not None else "python -m tests.benchmarks --url …"
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    return {
        "command": f"`{words}`",
        "measured, in turn in each round, medians": (
            f"{name} {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {options.rounds} rounds"
        ),
        "engine": "the embedded one" if running.pid is not None else "a running one, given by its URL",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {system}",
        "Python": f"{platform.python_version()}; {', '.join(f'{name} {version(name)}' for name in packages)}",
    }


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line), "?")


if __name__ == "__main__":
    main()
