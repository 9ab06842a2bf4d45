"""Runs one pipeline through the installed program, and strikes its processes one after the other."""

from __future__ import annotations

import filecmp
import gzip
import os
import random
import shlex
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from tests.faults.never import Ending, never, untold
from tests.faults.proxy import Misfortune, Proxy
from tests.faults.running import LIMIT, Outcome, environment, left_running, status_of
from tests.support.calls import create_channel
from tests.support.program import III
from tests.support.refs import token_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.never import Arrived
    from tests.faults.pipelines import Pipeline, Strike
    from tests.faults.running import Engine

__all__ = ("PipelineRun",)

COMMANDS = {"cat": ["cat", "in"], "gzip": ["gzip", "-1"], "iii": [III, "channel", "write", "env:III_WRITER"]}


class PipelineRun:
    """One pipeline in a folder of its own."""

    def __init__(self, case: Pipeline, engine: Engine, folder: Path) -> None:
        self._case = case
        self._engine = engine
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # a shell that runs all of them is `iii`
        self._struck = threading.Event()  # for the first time
        self._misfortune = (
            Misfortune("write", case.place, "call", call=self._stand_still) if case.place else None
        )
        with (folder / "in").open("wb") as file:
            if "gzip" in case.programs or not case.strikes:
                file.write(random.Random(case.number).randbytes(case.size))
            else:
                file.truncate(case.size)

    def outcome(self) -> Outcome:
        """Run it to its end, and look at what is there then."""
        started = time.monotonic()
        until = started + LIMIT
        writer_ref, reader_ref = create_channel(f"ws://127.0.0.1:{self._engine.port}")
        with Proxy(self._engine.port, writer_ref["channel_id"], self._misfortune) as proxy:
            env = environment(
                III_URL=f"ws://127.0.0.1:{proxy.port}",
                III_WRITER=token_of(writer_ref),
                III_READER=token_of(reader_ref),
            )
            reader = self._start("reader", [III, "channel", "read", "-o", "out"], env, subprocess.DEVNULL)
            self._start_pipeline(env)
            found = self._misfortune is None or self._misfortune.struck.wait(LIMIT)
            if found:
                self._strike_all()
            statuses = {
                "writer": status_of(self._processes["iii"], until),
                "reader": status_of(reader, until),
            }
            for process in self._processes.values():
                status_of(process, until)
        seconds = time.monotonic() - started
        ending = self._ending(statuses)
        wrong = (
            *never(self._case, ending),
            *untold(statuses, self._talk(), {writer_ref["access_key"]}),
            *self._unexpected(ending, found),
        )
        self._clear()
        return Outcome(self._case, ending.writer, ending.reader, ending.arrived, seconds, wrong)

    def _start_pipeline(self, env: dict[str, str]) -> None:
        case = self._case
        if case.in_script:
            script = " | ".join(shlex.join(COMMANDS[program]) for program in case.programs)
            self._start("iii", ["sh", "-c", script], env, subprocess.DEVNULL, group=0)
            return
        group = 0
        source = os.open(os.devnull, os.O_RDWR)
        for program in case.programs:
            drain, feed = (-1, os.dup(source)) if program == "iii" else os.pipe()
            process = self._start(program, COMMANDS[program], env, source, feed, group)
            group = group or process.pid
            os.close(source)
            os.close(feed)
            source = drain

    def _start(
        self,
        name: str,
        command: list[str],
        env: dict[str, str],
        stdin: int,
        stdout: int = subprocess.DEVNULL,
        group: int | None = None,
    ) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.stderr").open("wb") as said:
            process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=env,
                stdin=stdin,
                stdout=stdout,
                stderr=said,
                process_group=group,
            )
        if name != "reader":
            self._processes[name] = process
        return process

    def _stand_still(self) -> None:
        """Called at the place: nothing passes until the first signal has been sent."""
        self._struck.wait(LIMIT)

    def _strike_all(self) -> None:
        for strike in self._case.strikes:
            self._strike(strike)
            self._struck.set()
            time.sleep(strike.gap)  # the gap is the misfortune

    def _strike(self, strike: Strike) -> None:
        if strike.program == "job":
            first = self._processes["iii" if self._case.in_script else self._case.programs[0]]
            os.killpg(first.pid, strike.signal)
            struck = [name for name in self._processes if name != "iii"]
        else:
            self._processes[strike.program].send_signal(strike.signal)
            struck = [strike.program]
        for name in struck:
            if self._case.reaped and name != "iii":
                self._processes[name].wait(LIMIT)

    def _ending(self, statuses: dict[str, int | None]) -> Ending:
        running = left_running(self._folder)
        files = frozenset(path.name for path in self._folder.iterdir() if path.suffix != ".stderr")
        return Ending(statuses, self._arrived(), files, running)

    def _arrived(self) -> Arrived:
        source, out = self._folder / "in", self._folder / "out"
        if not out.exists():
            return "nothing"
        if "gzip" in self._case.programs:
            try:
                with gzip.open(out) as packed, (self._folder / "plain").open("wb") as plain:
                    shutil.copyfileobj(packed, plain)
            except (EOFError, OSError):
                return "part"
            out = self._folder / "plain"
        return "whole" if filecmp.cmp(source, out, shallow=False) else "part"

    def _talk(self) -> dict[str, str]:
        """A shell that is struck says nothing."""
        said = {"writer": "iii.stderr", "reader": "reader.stderr"}
        names = ("reader",) if self._case.in_script else ("writer", "reader")
        return {name: (self._folder / said[name]).read_text() for name in names}

    def _unexpected(self, ending: Ending, found: bool) -> Iterator[str]:
        if not found:
            yield "the misfortune never struck"
        if ending.writer is not None and ending.writer not in self._case.writer:
            yield f"the writer ends with {ending.writer}"
        if ending.reader is not None and ending.reader not in self._case.reader:
            yield f"the reader ends with {ending.reader}"

    def _clear(self) -> None:
        """pytest keeps the folder."""
        for name in ("in", "out", "plain"):
            (self._folder / name).unlink(missing_ok=True)
