"""Bytes through `channel write` and `channel read`, as a shell would send them."""

from __future__ import annotations

import hashlib
import random
import subprocess
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci, in_ci_but

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

PAYLOADS = {
    "nothing": b"",
    "one byte": b"x",
    "newlines and NULs": b"\n\0" * 50_000,
    "random": random.Random(3).randbytes(3_000_000),
}


@pytest.mark.parametrize(
    ("first", "name"),
    in_ci_but([("writer", "random"), ("reader", "nothing")], product(("writer", "reader"), PAYLOADS)),
)
def test_whoever_comes_first_every_byte_arrives(iii: Program, name: str, first: str) -> None:
    payload = PAYLOADS[name]
    writer, reader = iii.channel()
    if first == "writer":
        with iii.start("channel", "write", writer, stdin=subprocess.PIPE) as writing:
            reading = iii.start("channel", "read", reader)
            writing.communicate(payload, timeout=20)
    else:
        reading = iii.start("channel", "read", reader)
        done = iii.run("channel", "write", writer, stdin=payload)
        assert (done.returncode, done.stderr) == (0, b"")
    out, err = reading.communicate(timeout=20)
    assert (reading.returncode, err) == (0, b"")
    assert out == payload


@pytest.mark.parametrize(
    "source",
    [
        "cat in.bin | iii channel write env:x_w",
        "iii channel write env:x_w <in.bin",
        *in_ci("iii channel write env:x_w in.bin"),
    ],
)
def test_every_kind_of_stdin(iii: Program, tmp_path: Path, source: str) -> None:
    payload = PAYLOADS["random"]
    (tmp_path / "in.bin").write_bytes(payload)
    iii.refs("x")
    done = iii.shell(f"iii channel read env:x_r > out.bin & {source} || exit; wait $!")
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")
    assert (tmp_path / "out.bin").read_bytes() == payload


@pytest.mark.parametrize(
    ("source", "arrived"), [("<<EOF\nhello\nEOF", b"hello\n"), *in_ci(("</dev/null", b""))]
)
def test_a_here_document_and_dev_null(iii: Program, source: str, arrived: bytes) -> None:
    iii.refs("x")
    done = iii.shell(f"iii channel read env:x_r & iii channel write env:x_w {source}\nwait $!")
    assert (done.returncode, done.stdout, done.stderr) == (0, arrived, b"")


@pytest.mark.ci
@pytest.mark.timeout(240)
def test_a_gibibyte_of_random_bytes(iii: Program, tmp_path: Path) -> None:
    iii.refs("x")
    done = iii.shell(
        """
        head -c 1G /dev/urandom > big.bin
        iii channel read env:x_r > out.bin & reader=$!
        cat big.bin | iii channel write env:x_w || exit
        wait $reader || exit
        sha256sum < big.bin; sha256sum < out.bin; rm big.bin out.bin
        """,
        limit=200,
    )
    assert done.returncode == 0, done.stderr
    one, two = done.stdout.split(b"\n")[:2]
    assert one == two


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_a_line_a_second_for_75_seconds(iii: Program) -> None:
    """The engine answers no ping on a read socket; whoever sends them loses this stream after 40 s."""
    iii.refs("x")
    done = iii.shell(
        """
        iii channel read env:x_r | sha256sum & reader=$!
        for i in $(seq 75); do echo "tick $i"; sleep 1; done | iii channel write env:x_w || exit
        wait $reader
        """,
        limit=100,
    )
    expected = hashlib.sha256("".join(f"tick {i}\n" for i in range(1, 76)).encode()).hexdigest()
    assert (done.returncode, done.stdout.split()[0].decode()) == (0, expected)
