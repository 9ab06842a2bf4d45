"""Bad input at every door: only the errors that the door may answer with, and no hang.

The corpus has a file for each door, a seed a line (`\\n` and other escapes as in a Python literal). Short
here; `III_FUZZ_MINUTES=10 pytest -m soak tests/fuzz -k frames` goes on for ten minutes.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTES = float(os.environ.get("III_FUZZ_MINUTES", "10"))
CORPUS = Path(__file__).with_name("corpus")
JUNK = [
    b"",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"{",
    b"}",
    b'"',
    b"\\ud800",
    b"1e999",
    b"-1",
    b"[" * 500,
    b"9" * 400,
]
JUNK += [
    b"\r\n",
    b"\n",
    b"%",
    b"%00",
    b":",
    b"@",
    b"=",
    b"../",
    b"null",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"\x7f" * 9,
]


def seeds(name: str) -> list[bytes]:
    lines = (CORPUS / f"{name}.txt").read_text().splitlines()
    return [line.encode().decode("unicode_escape").encode("latin-1") for line in lines if line]


def edited(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The seed with pieces of it replaced."""
    for at, length, piece in edits:
        at %= len(seed) + 1
        seed = seed[:at] + piece + seed[at + length :]
    return seed


def inputs(name: str) -> st.SearchStrategy[bytes]:
    edit = st.tuples(
        st.integers(0, 400), st.integers(0, 12), st.one_of(st.sampled_from(JUNK), st.binary(max_size=8))
    )
    return st.one_of(
        st.builds(edited, st.sampled_from(seeds(name)), st.lists(edit, max_size=6)), st.binary(max_size=200)
    )


@pytest.fixture
def take(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes], None]:
    """The door, in a place where it can do no harm."""
    target = TARGETS[request.param]
    for variable in [name for name in os.environ if name.startswith("III_")]:
        monkeypatch.delenv(variable)
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.setenv("III_URL", "ws://127.0.0.1:9")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def take(data: bytes) -> None:
        try:
            target.take(data, tmp_path)
        except target.allowed as error:
            str(error)

    return take


@pytest.mark.parametrize(("name", "take"), [(name, name) for name in TARGETS], indirect=["take"], ids=TARGETS)
def test_a_short_while(name: str, take: Callable[[bytes], None]) -> None:
    for seed in seeds(name):
        take(seed)

    @settings(
        max_examples=15 if name == "command_line" else 60,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(name))
    def check(data: bytes) -> None:
        take(data)

    check()


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 60)
@pytest.mark.parametrize(("name", "take"), [(name, name) for name in TARGETS], indirect=["take"], ids=TARGETS)
def test_a_long_while(name: str, take: Callable[[bytes], None]) -> None:
    """Plain random edits of the corpus: a hundred times as many in a minute as a shrinking fuzzer makes."""
    chance, known = random.Random(time.time_ns()), seeds(name)
    until, count = time.monotonic() + MINUTES * 60, 0
    slowest, busy = 0.0, time.process_time()
    while time.monotonic() < until:
        edits = [
            (
                chance.randrange(400),
                chance.randrange(12),
                chance.choice(JUNK) if chance.random() < 0.5 else chance.randbytes(chance.randrange(8)),
            )
            for _ in range(chance.randrange(8))
        ]
        data = edited(chance.choice(known) if chance.random() < 0.9 else chance.randbytes(200), edits)
        started = time.process_time()  # a machine that does other things makes no input slow
        try:
            take(data)
        except BaseException:
            print(f"\n{name}: {data!r}")
            raise
        slowest = max(slowest, time.process_time() - started)
        count += 1
    busy = time.process_time() - busy
    print(f"\n{name}: {count} inputs in {busy:.0f} s of processor time, the slowest took {slowest:.3f} s")
    assert slowest < 5
