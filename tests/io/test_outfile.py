"""`-o FILE`: whole or not at all, with the permissions that a person expects."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.errors import LocalProblem
from iii_cli.io.outfile import InPlaceFile, open_output
from iii_cli.io.sinks import DescriptorSink, TerminalGuard
from tests.io.opened import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners")


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder of root's that everyone may enter, seen by a user without privileges."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def user(uid: int) -> Iterator[None]:
    os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture(params=["nameless", "named"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that knows no files without a name."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_file_appears_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with umask(0o027):
        out = open_output(str(path))
    assert not list(tmp_path.iterdir()), "nothing is created before"
    await out.open()
    assert all(mode_of(temporary) == 0o600 for temporary in tmp_path.iterdir())
    await out.write(b"some ")
    await out.write(b"bytes")
    assert not path.exists()
    await out.finish()
    assert path.read_bytes() == b"some bytes"
    assert mode_of(path) == 0o640
    assert list(tmp_path.iterdir()) == [path]
    assert out.durable
    assert out.bytes_written == 10
    out.discard()
    assert path.exists(), "what is finished stays"


@needs_root
async def test_a_group_that_cannot_be_kept_gets_no_rights() -> None:
    with as_nobody() as folder:
        folder.chmod(0o777)
        path = folder / "out"
        path.write_bytes(b"old")
        os.chown(path, NOBODY, 4242)
        path.chmod(0o664)
        with user(NOBODY):
            out = open_output(str(path))
            await out.finish()
        assert mode_of(path) == 0o604


async def test_discard_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    out = open_output(str(path))
    await out.write(b"half of the new")
    out.discard()
    out.discard()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_partial_file_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with umask(0o022):
        out = open_output(str(path), keep_partial=True)
    await out.write(b"half")
    out.discard()
    assert (tmp_path / "out.part").read_bytes() == b"half"
    assert mode_of(tmp_path / "out.part") == 0o644
    again = open_output(str(path), keep_partial=True)
    await again.open()
    again.discard()
    assert (tmp_path / "out.part").read_bytes() == b"half", "an empty part replaces nothing"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.part"]


async def test_symlinks_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target"
    link, dangling = tmp_path / "link", tmp_path / "dangling"
    link.symlink_to(target)
    target.write_bytes(b"old")
    dangling.symlink_to("elsewhere/new")
    for path in (link, dangling):
        out = open_output(str(path))
        await out.write(b"new")
        await out.finish()
        assert path.is_symlink()
        assert path.read_bytes() == b"new"


async def test_no_clobber_holds_for_a_file_that_comes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "out"
    out = open_output(str(path), no_clobber=True)
    await out.write(b"new")
    path.write_bytes(b"faster")
    with pytest.raises(LocalProblem, match="exists by now"):
        await out.finish()
    assert path.read_bytes() == b"faster"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_place_that_cannot_be_taken_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out"
    out = open_output(str(path))
    await out.write(b"new")
    path.mkdir()
    with pytest.raises(LocalProblem, match=r"cannot write to .*: Is a directory"):
        await out.finish()
    assert list(tmp_path.iterdir()) == [path]


async def test_an_fsync_that_fails_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_disk(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    before = opened()
    for keep in (False, True):
        out = open_output(str(tmp_path / "out"), keep_partial=keep)
        await out.write(b"new")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", broken_disk)
            with pytest.raises(LocalProblem, match="Input/output error"):
                await out.finish()
        assert [entry.name for entry in tmp_path.iterdir()] == (["out.part"] if keep else [])
    assert opened() == before


async def test_a_fifo_waits_for_its_reader_and_can_be_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    out = open_output(str(path))
    assert isinstance(out, InPlaceFile)
    with anyio.move_on_after(0.02) as scope:
        await out.write(b"x")
    assert scope.cancelled_caught
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with anyio.fail_after(2):
        await out.write(b"read me")
        await out.finish()
    assert os.read(reader, 100) == b"read me"
    assert os.read(reader, 100) == b""
    os.close(reader)


async def test_a_terminal_gets_no_binary_data() -> None:
    controller, terminal = os.openpty()
    guard = TerminalGuard(DescriptorSink(terminal, name="the terminal", owned=True))
    await guard.write(b"plain ")
    with pytest.raises(LocalProblem, match=r"NUL byte.*; `-o FILE` saves it, `-o -` shows it"):
        await guard.write(b"text\0\x1b]0;evil\7")
    shown = b""
    while len(shown) < 10:
        shown += os.read(controller, 100)
    assert shown == b"plain text"
    assert guard.bytes_written == 10
    guard.discard()
    os.close(controller)
