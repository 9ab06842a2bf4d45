"""`iii channel tee` with the installed program."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program


def test_each_reader_gets_the_whole_stream(iii: Program) -> None:
    payload = bytes(range(256)) * 10_000
    ends = [iii.channel() for _ in range(2)]
    readings = [iii.start("channel", "read", reader) for _, reader in ends]
    done = iii.run("channel", "tee", *[writer for writer, _ in ends], stdin=payload)
    assert (done.returncode, done.stderr) == (0, b"")
    for reading in readings:
        assert reading.communicate(timeout=20) == (payload, b"")
        assert reading.returncode == 0


def test_a_dead_reader_is_named_and_stops_nobody(iii: Program) -> None:
    for name in ("good", "bad"):
        iii.ok("channel", "create", "--save", name)
    good = iii.start("channel", "read", "@good", "-o", "/dev/null")
    bad = iii.start("channel", "read", "@bad")
    tee = iii.start("channel", "tee", "@good", "@bad", stdin=subprocess.PIPE)
    assert tee.stdin is not None
    assert bad.stdout is not None
    tee.stdin.write(b"x" * 100)
    tee.stdin.flush()
    assert bad.stdout.read(100) == b"x" * 100
    bad.kill()
    bad.communicate()
    _, err = tee.communicate(b"y" * 20_000_000, timeout=20)
    assert tee.returncode == 9
    assert b"@bad: the reader left" in err
    assert b"1 of 2 channels failed" in err
    assert good.communicate(timeout=20)[1] == b""
    assert good.returncode == 0


@pytest.mark.ci
def test_a_used_ref_among_good_ones(iii: Program) -> None:
    used, unread = iii.channel()
    assert iii.run("channel", "write", used, stdin=b"").returncode == 0
    writer, reader = iii.channel()
    reading = iii.start("channel", "read", reader)
    done = iii.run("channel", "tee", writer, used, stdin=b"all of it")
    assert done.returncode == 6
    assert b"REF 2: the writer end of this channel was already taken" in done.stderr
    assert used.encode() not in done.stderr
    assert reading.communicate(timeout=20)[0] == b"all of it"
    assert unread


def test_a_command_into_several_channels(iii: Program) -> None:
    ends = [iii.channel() for _ in range(2)]
    readings = [iii.start("channel", "read", reader) for _, reader in ends]
    done = iii.run("channel", "tee", *[writer for writer, _ in ends], "--", "sh", "-c", "seq 1000; exit 3")
    assert (done.returncode, done.stderr) == (11, b"iii: sh exited 3\n")
    for reading in readings:
        reading.communicate(timeout=20)
        assert reading.returncode == 7


@pytest.mark.parametrize("lost", [None, *in_ci("a reader", "a receipt")])
def test_a_file_and_a_receipt_of_each_reader(iii: Program, tmp_path: Path, lost: str | None) -> None:
    source = tmp_path / "in"
    source.write_bytes(bytes(range(256)) * 100)
    for name in ("one", "two"):
        iii.ok("channel", "create", "--save", name)
    one = iii.start("channel", "read", "@one", "-o", str(tmp_path / "one"))
    outputs = {None: ["-o", str(tmp_path / "two")], "a reader": ["-o", "/dev/full"], "a receipt": []}
    two = iii.start("channel", "read", "@two", *outputs[lost])
    done = iii.run("channel", "tee", "@one", "@two", "--receipt", "--from", str(source))
    one.communicate(timeout=20)
    two.communicate(timeout=20)
    assert one.returncode == 0
    assert (tmp_path / "one").read_bytes() == source.read_bytes()
    said = done.stderr.decode()
    assert (done.returncode, "@two: " in said, "1 of 2 channels failed" in said) == (
        (0, False, False) if lost is None else (9, True, True)
    )
    assert "@one: " not in said
    if lost is None:
        assert (tmp_path / "two").read_bytes() == source.read_bytes()


@pytest.mark.ci
def test_a_command_that_stands_before_the_dashes(iii: Program) -> None:
    done = iii.run("channel", "tee", "@one", "@two", "cat", "f")
    assert (done.returncode, done.stderr) == (
        2,
        "iii: write COMMAND behind `--`; iii channel tee … -- cat …\n".encode(),
    )
