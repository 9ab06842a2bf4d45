"""Runs one case through the installed program."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.never import Ending, never, untold
from tests.faults.proxy import Misfortune, Proxy
from tests.support.calls import create_channel, wait_for_functions
from tests.support.processes import in_folder
from tests.support.program import III, running_engine
from tests.support.refs import address_of, token_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.case import Case
    from tests.faults.never import Arrived, Tried

__all__ = ("LIMIT", "Engine", "Outcome", "Run", "engine_running", "environment", "left_running", "status_of")

LIMIT = 20.0  # seconds; no process of a case may live longer
LOOK_EVERY = 0.005  # seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended. Exit statuses are those of a shell; None is a process that had to be killed."""

    case: Tried
    writer: int | None
    reader: int | None
    arrived: Arrived
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


def environment(**more: str) -> dict[str, str]:
    """What every process of a case finds."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    return {**inherited, "NO_COLOR": "1", **more}


def left_running(folder: Path) -> list[str]:
    """The programs of a case that do not end by themselves, once its processes have ended."""
    deadline = time.monotonic() + LIMIT / 2
    while (left := in_folder(folder)) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    return left


def status_of(process: subprocess.Popen[bytes], until: float) -> int | None:
    """How it ended; None: it had not ended at that time, and was killed."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(max(until - time.monotonic(), 0.1))
    process.kill()
    process.wait()
    return None


def _lines(case: Case) -> bytes:
    """Short lines, some of them empty, of `size` bytes together."""
    text = bytearray(random.Random(case.number).choices(b'abc {}\t"', k=case.size))
    text[-1] = 10
    for at in random.Random(case.number + 1).sample(range(case.size - 1), case.lines - 1):
        text[at] = 10
    return bytes(text)


def _records(case: Case) -> bytes:
    """Records as `--jsonl` writes them, text and binary in turn, some of them empty."""
    chance = random.Random(case.number)
    records = []
    for number in range(case.lines):
        data = chance.randbytes(chance.randrange(2 * case.size // case.lines))
        text = {"base64": base64.b64encode(data).decode()} if number % 2 else {"text": data.hex()}
        records.append(json.dumps(text, separators=(",", ":")) + "\n")
    return "".join(records).encode()


def _data(case: Case) -> bytes:
    if case.records:
        return _records(case)
    return _lines(case) if case.lines else random.Random(case.number).randbytes(case.size)


class Run:
    """One case in a folder of its own."""

    def __init__(self, case: Case, engine: Engine, folder: Path) -> None:
        self._case = case
        self._engine = engine
        self._folder = folder
        self._data = _data(case)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._statuses: dict[str, int | None] = {}
        messages = (case.lines + 1) // 2 if case.records else case.lines
        self._misfortune = (
            Misfortune(case.end, case.place, case.act, case.bit, case.amount, messages, self._kill)
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
            env = environment(
                III_URL=f"ws://127.0.0.1:{proxy.port}",
                III_WRITER=token_of(writer_ref),
                III_READER=token_of(reader_ref),
                III_TEST_LIMITS=self._case.limits,
            )
            if self._case.target == "served":
                self._start("server", self._server(), env)
                wait_for_functions(url, self._function)
            self._start("reader", self._reader(), env)
            self._start("writer", self._writer(), env)
            self._wait_for_all(started + LIMIT)
        seconds = time.monotonic() - started
        ending = self._ending()
        struck = self._misfortune is None or self._misfortune.struck.is_set()
        wrong = (
            *never(self._case, ending),
            *untold(ending.statuses, self._talk(), self._keys),
            *self._unexpected(ending, struck),
        )
        return Outcome(self._case, ending.writer, ending.reader, ending.arrived, seconds, wrong)

    @property
    def _function(self) -> str:
        return f"fault::take-{self._case.number}"

    def _writer(self) -> list[str]:
        case = self._case
        options = ["--receipt", "--receipt-timeout", "3s"] if case.receipt else []
        options += ["--stall-timeout", case.limit] if case.limit else []
        options += ["--jsonl"] if case.records else ["--lines"] if case.lines else []
        files = {"file": ["in"], "stdin": [], "producer": []}[case.source]
        command = ["--", "sh", "-c", case.feed] if case.source == "producer" else []
        return [III, "channel", "write", *options, *(["env:III_WRITER", *files] if files else []), *command]

    def _reader(self) -> list[str]:
        case = self._case
        if case.target == "served":
            return [III, "trigger", self._function, "--ref", "stdin=env:III_READER"]
        options = ["--stall-timeout", case.limit] if case.limit else []
        options += ["--stop-early"] if case.stop_early else []
        # A header with a byte more shifts the mask: once in a thousand times that leaves legal frames without
        # a seal, which only who requires one can tell from somebody else's.
        if case.act == "repeat" and case.place is not None and case.place.frame == "open":
            options += ["--require-seal"]
        target = {"file": ["-o", "out"], "stdout": [], "consumer": ["--", "sh", "-c", case.script]}[
            case.target
        ]
        return [III, "channel", "read", *options, *target]

    def _server(self) -> list[str]:
        return [III, "serve", self._function, "--stdout", "result", "--", "sh", "-c", self._case.script]

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

    def _wait_for_all(self, until: float) -> None:
        order = ("reader", "writer") if self._case.vanishing else ("writer", "reader")
        for name in order:
            if name == "writer" and self._case.vanishing:
                self._processes[name].kill()  # it would never end
            self._statuses[name] = status_of(self._processes[name], until)
        if server := self._processes.get("server"):
            if self._case.victim != "server":
                server.terminate()
            self._statuses["server"] = status_of(server, until)

    def _kill(self) -> None:
        case = self._case
        process = self._engine.process if case.victim == "engine" else self._processes.get(case.victim)
        if process is not None:
            process.send_signal(signal.Signals(case.signal))
            if case.at_once or case.signal == signal.SIGKILL:
                process.wait(LIMIT)

    def _talk(self) -> dict[str, str]:
        return {
            name: (self._folder / f"{name}.stderr").read_text(errors="replace") for name in self._processes
        }

    def _ending(self) -> Ending:
        running = left_running(self._folder)
        says = {f"{name}.{stream}" for name in self._processes for stream in ("stdout", "stderr")}
        files = frozenset(path.name for path in self._folder.iterdir()) - says
        verdict = (self._folder / "status").read_text() if "status" in files else ""
        return Ending(self._statuses, self._arrived(), files, running, verdict)

    def _arrived(self) -> Arrived:
        path = self._folder / ("reader.stdout" if self._case.target == "stdout" else "out")
        if not path.exists():
            return "nothing"
        data = path.read_bytes()
        if data == self._data:
            return "whole"
        return "part" if self._data.startswith(data) else "other"

    def _unexpected(self, ending: Ending, struck: bool) -> Iterator[str]:
        case = self._case
        if not struck and not case.may_miss:
            yield "the misfortune never struck"
            return
        if ending.writer is not None and ending.writer not in case.writer:
            yield f"the writer ends with {ending.writer}"
        if ending.reader is not None and ending.reader not in case.reader:
            yield f"the reader ends with {ending.reader}"
        if case.victim == "server" and ending.statuses["server"] not in (-case.signal, None):
            yield f"the server ends with {ending.statuses['server']}"
