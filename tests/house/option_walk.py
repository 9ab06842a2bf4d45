"""Which classes of ours hold the value of an option while `trigger --in … --out …` copies its first bytes?

`python -m tests.house.option_walk` prints them. Every option has a value that nothing else has; when the
first byte is asked for, every object between the typer function and the copy loop is looked at: those of the
commands, and of the client's streams and transfers.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("classes_on_the_walk",)

WALK = ("iii_cli.commands.", "iii_cli.client.streams", "iii_cli.client.transfer")

LOOK = """
import gc, os, sys
from iii_cli.io.sources import Source

words, walk = sys.argv[1].split("\\n"), tuple(sys.argv[2].split())
numbers = {float(w.removesuffix("s")) for w in words if w[0].isdigit()}


def values(thing):
    yield from getattr(thing, "__dict__", {}).values()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(thing, name, None)
    for name in getattr(thing, "_fields", getattr(thing, "__struct_fields__", ())):
        yield getattr(thing, name, None)


def is_option(value):
    if type(value) in (int, float):
        return value in numbers
    if isinstance(value, (tuple, list)):
        return any(map(is_option, value))
    return isinstance(value, str) and ("mark" in value or value == "records")


def look(*_):
    gc.collect()
    seen, todo = set(), list(gc.get_objects())
    while todo:
        thing = todo.pop()
        if id(thing) in seen or thing is seen or thing is todo:
            continue
        seen.add(id(thing))
        kind = type(thing)
        module = str(getattr(kind, "__module__", ""))
        if module.startswith("iii_cli."):
            todo += gc.get_referents(thing)
            if module.startswith(walk) and any(is_option(v) for v in values(thing)):
                found.add(f"{module.removeprefix('iii_cli.')}.{kind.__qualname__}")
    os.write(1, "".join(f"{name}\\n" for name in sorted(found)).encode())
    os._exit(0)


found = set()
Source.read_into = look
sys.argv[:] = ["iii"]
from iii_cli.cli import status_of
os._exit(status_of(words) or 1)
"""


def classes_on_the_walk(iii: Program) -> list[str]:
    """Their names, module and class. `iii` has an engine."""
    given = iii.home / "mark-in"
    given.write_text('{"text":"a"}\n')
    common = (
        *("trigger", "mark::f", "pair=mark", "-s", "text=mark", "--metadata", '{"k":"mark"}'),
        *(
            "--in",
            f"markin={given}",
            "--out",
            f"markout={iii.home}/mark-out",
            "--no-clobber",
            "--allow-empty",
        ),
        *("--result", f"{iii.home}/mark-result", "--format", "jsonl", "--producer", "strict"),
        *("--buffer", "13", "--linger", "1234s", "--stall-timeout", "2345s", "--timeout", "3456s"),
    )
    found: set[str] = set()
    with iii.serving("mark::f", "--", "cat"):
        for more in (("--messages", f"{iii.home}/mark-messages"), ("--jsonl",)):
            done = subprocess.run(
                [sys.executable, "-c", LOOK, "\n".join((*common, *more)), " ".join(WALK)],
                env=iii.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr.decode()
            found.update(done.stdout.decode().split())
    return sorted(found)


def main() -> Iterator[str]:
    with TemporaryDirectory() as folder, running_engine() as (url, _):
        yield from classes_on_the_walk(Program(Path(folder), url))


if __name__ == "__main__":
    found = list(main())
    print(*found, f"{len(found)} classes", sep="\n")
