"""Runs one case through the installed program, and knows what must never happen."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.proxy import Misfortune, Proxy
from tests.support.calls import create_channel
from tests.support.program import III, running_engine
from tests.support.refs import address_of, token_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.cases import Case

__all__ = ("Engine", "Outcome", "Run", "engine_running")

LIMIT = 20.0  # seconds; no process of a case may live longer


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended. Exit statuses are those of a shell; None is a process that had to be killed."""

    case: Case
    writer: int | None
    reader: int | None
    arrived: str  # whole, part, nothing, other
    seconds: float
    wrong: tuple[str, ...]  # what must not happen and did

    def row(self) -> str:
        """A line of the table."""
        verdict = "; ".join(self.wrong) or "ok"
        case, statuses = self.case, f"{_shown(self.writer):>6} {_shown(self.reader):>6}"
        return (
            f"{case!s:44} {case.size:>8} {case.source:8} {case.target:8} {statuses} {self.arrived:8} "
            f"{self.seconds:5.1f}s  {verdict}"
        )


def _shown(status: int | None) -> str:
    return "hung" if status is None else str(status)


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine and its process."""

    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def engine_running() -> Iterator[Engine]:
    """An engine on a port of its own."""
    with running_engine("--host", "127.0.0.1", "--log", "off") as (url, process):
        yield Engine(address_of(url)[1], process)


def _environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    return {**inherited, "NO_COLOR": "1", **more}


def _lines(case: Case) -> bytes:
    """Short lines, some of them empty, of `size` bytes together."""
    text = bytearray(random.Random(case.number).choices(b'abc {}\t"', k=case.size))
    text[-1] = 10
    for at in random.Random(case.number + 1).sample(range(case.size - 1), case.lines - 1):
        text[at] = 10
    return bytes(text)


class Run:
    """One case in a folder of its own."""

    def __init__(self, case: Case, engine: Engine, folder: Path) -> None:
        self._case = case
        self._engine = engine
        self._folder = folder
        self._data = _lines(case) if case.lines else random.Random(case.number).randbytes(case.size)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._misfortune = (
            Misfortune(case.end, case.place, case.act, case.bit, case.amount, case.lines, self._kill)
            if case.place
            else None
        )
        (folder / "in").write_bytes(self._data)

    def outcome(self) -> Outcome:
        """Run it to its end, and look at what is there then."""
        started = time.monotonic()
        url = f"ws://127.0.0.1:{self._engine.port}"
        writer_ref, reader_ref = create_channel(url, self._case.buffer)
        self._keys = {writer_ref["access_key"]}
        with Proxy(self._engine.port, writer_ref["channel_id"], self._misfortune) as proxy:
            env = _environment(
                III_URL=f"ws://127.0.0.1:{proxy.port}",
                III_WRITER=token_of(writer_ref),
                III_READER=token_of(reader_ref),
            )
            self._start("reader", self._reader(), env)
            self._start("writer", self._writer(), env)
            talk = {name: self._wait(name, started) for name in ("writer", "reader")}
        seconds = time.monotonic() - started
        struck = self._misfortune is None or self._misfortune.struck.is_set()
        writer, reader = (self._status(name) for name in ("writer", "reader"))
        arrived = self._arrived()
        wrong = (
            *self._never(writer, reader, arrived),
            *self._untold(talk),
            *self._unexpected(writer, reader, struck),
        )
        return Outcome(self._case, writer, reader, arrived, seconds, wrong)

    def _writer(self) -> list[str]:
        case = self._case
        options = ["--receipt", "--receipt-timeout", "3s"] if case.receipt else []
        options += ["--stall-timeout", case.limit] if case.limit else []
        options += ["--lines"] if case.lines else []
        files = {"file": ["in"], "stdin": [], "producer": []}[case.source]
        command = ["--", "sh", "-c", case.script] if case.source == "producer" else []
        return [III, "channel", "write", *options, *(["env:III_WRITER", *files] if files else []), *command]

    def _reader(self) -> list[str]:
        case = self._case
        options = ["--stall-timeout", case.limit] if case.limit else []
        target = {"file": ["-o", "out"], "stdout": [], "consumer": ["--", "sh", "-c", case.script]}[
            case.target
        ]
        return [III, "channel", "read", *options, *target]

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> None:
        fed = name == "writer" and self._case.source == "stdin"
        with ExitStack() as files:
            stdin = files.enter_context((self._folder / "in").open("rb"))
            stdout, stderr = (
                files.enter_context((self._folder / f"{name}.{stream}").open("wb"))
                for stream in ("stdout", "stderr")
            )
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self._folder,
                env=env,
                stdin=stdin if fed else subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def _wait(self, name: str, started: float) -> str:
        process = self._processes[name]
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(started + LIMIT - time.monotonic(), 0.1))
        if process.returncode is None:
            process.kill()
            process.wait()
            process.returncode = HUNG
        return (self._folder / f"{name}.stderr").read_text(errors="replace")

    def _kill(self) -> None:
        case = self._case
        process = self._engine.process if case.victim == "engine" else self._processes.get(case.victim)
        if process is not None:
            process.send_signal(signal.Signals(case.signal))
            if case.signal == signal.SIGKILL:
                process.wait(LIMIT)

    def _status(self, name: str) -> int | None:
        status = self._processes[name].returncode
        return None if status == HUNG else status

    def _arrived(self) -> str:
        path = self._folder / ("reader.stdout" if self._case.target == "stdout" else "out")
        if not path.exists():
            return "nothing"
        data = path.read_bytes()
        if data == self._data:
            return "whole"
        return "part" if self._data.startswith(data) else "other"

    def _never(self, writer: int | None, reader: int | None, arrived: str) -> Iterator[str]:
        """What must not happen, whatever the misfortune."""
        case = self._case
        if writer is None or reader is None:
            yield "a process outlived its time limit"
        if reader == 0 and (arrived != "whole" or case.failing):
            yield f"the reader says 0 and has {arrived}"
        if case.target == "file" and arrived not in ("nothing", "whole"):
            yield f"-o left a file with {arrived}"
        if case.target == "file" and arrived == "whole" and reader != 0 and case.victim != "reader":
            yield "-o left a file and the reader failed"
        if case.receipt and writer == 0 and arrived != "whole":
            yield f"a receipt for {arrived}"
        if (self._folder / "whole").exists() and reader != 0:
            yield "the consumer took a cut stream for a whole one"
        known = {"in", "out", "whole", "writer.stdout", "reader.stdout", "writer.stderr", "reader.stderr"}
        left = {path.name for path in self._folder.iterdir()} - known
        if left and reader != -9:
            yield f"left behind: {', '.join(sorted(left))}"

    def _untold(self, talk: dict[str, str]) -> Iterator[str]:
        """A failure is one line that says what failed, never a traceback and never a key."""
        for name, text in talk.items():
            status = self._status(name)
            if "Traceback" in text or "Error:" in text:
                yield f"the {name} shows a traceback"
            if any(key in text for key in self._keys):
                yield f"the {name} shows a key"
            if status not in (0, None) and status > 0 and not text.strip():
                yield f"the {name} fails without a word"

    def _unexpected(self, writer: int | None, reader: int | None, struck: bool) -> Iterator[str]:
        if not struck:
            yield "the misfortune never struck"
            return
        if writer is not None and writer not in self._case.writer:
            yield f"the writer ends with {writer}"
        if reader is not None and reader not in self._case.reader:
            yield f"the reader ends with {reader}"


HUNG = 1 << 20
