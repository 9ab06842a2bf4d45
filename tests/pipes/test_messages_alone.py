"""A writer that is not ours, and sends text messages alone, read as bytes: they are not lost at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.pipes.foreign import foreign_stream, foreign_worker, write_frames
from tests.support.screen import on_screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.program import Program

MIB = 1 << 20
NOT_VERIFIED = "iii: the writer sent no seal: the end could not be verified"
WRITTEN = f"{NOT_VERIFIED}; its 2 text messages were written at the end, --text writes them as they come\n"


def read(iii: Program, frames: Sequence[str | bytes], *words: str) -> tuple[int, bytes, str]:
    """The exit status, stdout and stderr of a reader of these frames."""
    with foreign_stream(iii, *frames) as reader:
        done = iii.run("channel", "read", reader, *words)
    return done.returncode, done.stdout, done.stderr.decode()


def test_they_are_shown_and_written_at_a_clean_end(iii: Program) -> None:
    assert read(iii, ["to", "kens\n"]) == (0, b"tokens\n", f"iii: to\niii: kens\n{WRITTEN}")


@pytest.mark.ci
def test_every_output_gets_them(iii: Program) -> None:
    out = iii.home / "out"
    assert read(iii, ["a", "", "b"], "-q", "-o", str(out)) == (0, b"", "")
    assert out.read_bytes() == b"ab"
    assert read(iii, ["a", "b"], "-q", "--", "tr", "ab", "xy")[:2] == (0, b"xy")
    with foreign_stream(iii, "\x1b[1m", "bold") as reader:
        status, screen = on_screen(iii, "channel", "read", "env:R", env={"R": reader})
    assert (status, screen.splitlines()[2]) == (0, "bold")


@pytest.mark.ci
@pytest.mark.parametrize("where", ["drop", "FILE"])
def test_another_place_for_messages_changes_nothing_else(iii: Program, where: str) -> None:
    path = where.replace("FILE", str(iii.home / "messages"))
    assert read(iii, ["a", "b"], "--messages", path) == (0, b"ab", WRITTEN)
    if where == "FILE":
        assert (iii.home / "messages").read_bytes() == b"a\nb\n"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("frames", "words", "status"),
    [
        (["a"], ["--require-seal"], 7),
        (["a", '{"error":"out of tokens"}'], [], 7),
        ([b"bytes"], ["--text"], 8),  # the other way round nothing was lost yet
    ],
    ids=["a seal required", "an error", "bytes as text"],
)
def test_no_other_end_writes_them(
    iii: Program, frames: list[str | bytes], words: list[str], status: int
) -> None:
    assert read(iii, frames, *words)[:2] == (status, b"")


@pytest.mark.ci
def test_beside_bytes_they_are_no_data(iii: Program) -> None:
    assert read(iii, ["a", b"data", "b"]) == (0, b"data", f"iii: a\niii: b\n{NOT_VERIFIED}\n")


@pytest.mark.ci
@pytest.mark.parametrize(("extra", "status"), [([], 0), (["x"], 8)])
def test_no_more_than_16_mib_are_kept(iii: Program, extra: list[str], status: int) -> None:
    done = read(iii, ["x" * MIB] * 16 + extra, "--messages", "drop")
    assert (done[0], len(done[1])) == (status, 0 if extra else 16 * MIB)
    if extra:
        said = "the stream has 17 text messages of more than 16 MiB and no bytes"
        assert done[2] == f"iii: {said}; read it with --text, --lines or --jsonl\n"


@pytest.mark.ci
@pytest.mark.parametrize("target", ["-", "out"])
def test_a_call_that_gives_tokens(iii: Program, target: str) -> None:
    def speak(data: dict[str, Any]) -> str:
        write_frames(iii.env["III_URL"], data["stream"], ["to", "kens"])
        return "said"

    out = iii.home / "out"
    with foreign_worker(iii.env["III_URL"], speak=speak):
        place = target.replace("out", str(out))
        done = iii.run("trigger", "speak", "--out", f"stream={place}", "--result", "/dev/null")
    assert done.returncode == 0
    assert (done.stdout if target == "-" else out.read_bytes()) == b"tokens"
    assert done.stderr.decode() == "iii: to\niii: kens\n" + WRITTEN.replace("iii: ", "iii: --out stream: ")
