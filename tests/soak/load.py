"""Mixed load by the installed `iii`, everything of it checked."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections import Counter
    from collections.abc import Callable

    from tests.support.program import Program

__all__ = ("LIMIT", "Load")

LIMIT = 300.0  # seconds for one command: the machine does other things, too
PAUSE = 0.2  # between two of them, for the same reason


class Load:
    """One lane of work."""

    def __init__(self, iii: Program, number: int, seed: int, counts: Counter[str]) -> None:
        self.iii = iii
        self.number = number
        self.random = random.Random(seed * 1000 + number)
        self.counts = counts
        self.kinds: list[Callable[[], None]] = [
            *(self.stream, self.stream, self.call, self.filtered, self.copied, self.lines, self.echoes),
            *(self.dying_writer, self.dying_reader, self.dying_serve, self.refused, self.unread),
        ]

    def run(self, stopped: threading.Event) -> None:
        """Work until told to stop. Raises AssertionError, and stops the others."""
        try:
            while not stopped.wait(PAUSE):
                kind = self.random.choice(self.kinds)
                kind()
                self.counts[kind.__name__] += 1
        finally:
            stopped.set()

    def data(self) -> bytes:
        size = self.random.choice([0, 1, 100, 65_536, 1 << 20, self.random.randrange(8 << 20)])
        self.counts["bytes"] += size
        return self.random.randbytes(size)

    def stream(self) -> None:
        """A sealed stream with a receipt, into a file."""
        writer, reader = self.iii.channel()
        out = self.iii.home / f"out{self.number}"
        data = self.data()
        reading = self.iii.start("channel", "read", reader, "-o", str(out))
        done = self.iii.run("channel", "write", writer, "--receipt", stdin=data)
        assert done.returncode == 0, done.stderr
        _, err = reading.communicate(timeout=LIMIT)
        assert reading.returncode == 0, err
        assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(data).digest()
        out.unlink()

    def lines(self) -> None:
        writer, reader = self.iii.channel()
        text = "".join(f"{self.random.getrandbits(64):x}\n" for _ in range(2000)).encode()
        reading = self.iii.start("channel", "read", reader)
        self.iii.ok("channel", "write", writer, "--lines", stdin=text)
        out, err = reading.communicate(timeout=LIMIT)
        assert (reading.returncode, out == text) == (0, True), err

    def call(self) -> None:
        number = self.random.getrandbits(50)
        answer = self.iii.ok("trigger", "soak::echo", f"number={number}", "--timeout", "200s")
        assert json.loads(answer) == {"number": number}

    def echoes(self) -> None:
        """Many calls over one connection."""
        numbers = [self.random.getrandbits(50) for _ in range(300)]
        lines = "".join(f'{{"number":{number}}}\n' for number in numbers).encode()
        answers = self.iii.ok("trigger", "soak::echo", "--each", "-P", "8", "--timeout", "200s", stdin=lines)
        assert sorted(json.loads(line)["result"]["number"] for line in answers.splitlines()) == sorted(
            numbers
        )

    def filtered(self) -> None:
        self._through("soak::cat")

    def copied(self) -> None:
        self._through("soak::copy")

    def _through(self, function: str) -> None:
        data = self.data()
        words = ("trigger", function, "--in", "stdin=-", "--out", "stdout=-", "--timeout", f"{LIMIT:g}")
        done = self.iii.run(*words, stdin=data)
        assert (done.returncode, done.stdout == data) == (0, True), done.stderr

    def dying_writer(self) -> None:
        writer, reader = self.iii.channel()
        reading = self.iii.start("channel", "read", reader)
        writing = self.iii.start("channel", "write", writer, "/dev/zero")
        assert reading.stdout is not None
        reading.stdout.read(1 << 20)
        writing.kill()
        writing.communicate()
        _, err = reading.communicate(timeout=LIMIT)
        assert reading.returncode == 7, (reading.returncode, err)

    def dying_reader(self) -> None:
        writer, reader = self.iii.channel()
        reading = self.iii.start("channel", "read", reader)
        writing = self.iii.start("channel", "write", writer, "/dev/zero")
        assert reading.stdout is not None
        reading.stdout.read(1 << 20)
        reading.send_signal(self.random.choice([signal.SIGKILL, signal.SIGTERM]))
        reading.communicate(timeout=LIMIT)
        _, err = writing.communicate(timeout=LIMIT)
        assert writing.returncode == 9, (writing.returncode, err)

    def dying_serve(self) -> None:
        """A serve that is killed in the middle of a stream, one that is killed at any moment of a call, and
        one that comes after them.
        """
        name = f"soak::mortal{self.number}"
        serving = self._serve(name)
        calling = self.iii.start("trigger", name, "--in", "stdin=/dev/zero", "--out", "stdout=-")
        assert calling.stdout is not None
        calling.stdout.read(1 << 20)
        serving.kill()
        self._fails(serving, calling, 1, 3, 5, 7, 9)
        serving = self._serve(name)
        calling = self.iii.start("trigger", name, "--in", "stdin=/dev/null", "--out", "stdout=/dev/null")
        time.sleep(self.random.uniform(0, 0.7))
        serving.kill()
        self._fails(serving, calling, 0, 1, 3, 5, 7, 9)
        serving = self._serve(name)
        self._through(name)
        serving.terminate()
        serving.communicate(timeout=LIMIT)
        assert serving.returncode == 0

    def _serve(self, name: str) -> subprocess.Popen[bytes]:
        serving = self.iii.start("serve", name, "--", "cat", stderr=subprocess.DEVNULL)
        self.iii.ok("functions", "wait", name, "--timeout", "200s")
        return serving

    def _fails(self, serving: subprocess.Popen[bytes], calling: subprocess.Popen[bytes], *codes: int) -> None:
        _, err = calling.communicate(timeout=LIMIT)
        assert calling.returncode in codes, (calling.returncode, err)
        serving.communicate(timeout=LIMIT)

    def refused(self) -> None:
        for words in (("channel", "read", "iii:read:no:no"), ("trigger", "no::such", "--timeout", "200s")):
            done = self.iii.run(*words)
            assert done.returncode == 5, (words, done.returncode, done.stderr)

    def unread(self) -> None:
        """A reader that leaves after the first bytes, behind a pipe."""
        patience = " ".join(self.iii.options)
        done = self.iii.shell(
            f"iii channel create --save u{self.number} --force {patience}\n"
            f"head -c 3M /dev/zero | iii channel write @u{self.number} {patience} 2>/dev/null &\n"
            f"iii channel read @u{self.number} {patience} | head -c 1 | wc -c; wait",
        )
        assert done.stdout.strip() == b"1", done.stderr
