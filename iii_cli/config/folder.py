"""A folder of small private files: 0700, its files 0600, replaced whole, changed by one process at a time."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from iii_cli.errors import LocalProblem, UsageProblem

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ("PrivateFolder", "checked_name", "user_folder")

APP_NAME = "iii-cli"  # not `iii`, which is the engine's own
FILE_BYTES_MAX = 256 << 10  # ours are a few hundred bytes; whatever is larger is not ours
LOCK_PATIENCE = 5.0  # seconds; a change takes milliseconds, so a longer holder was stopped half-way
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def checked_name(name: str, noun: str) -> str:
    """The name, if it can be a file's on every system. Raises UsageProblem."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise UsageProblem(
            f"{name[:100]!r} cannot be the name of a {noun}",
            hint="use letters, digits and . _ + - (not first)",
        )
    return name


def user_folder(kind: Literal["config", "state"], *parts: str) -> Path | None:
    """Our folder among the user's own, or None for a user without a home. It need not exist."""
    import platformdirs  # 3 ms that most commands do not need

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    try:
        path = find(APP_NAME, appauthor=False)
    except RuntimeError:
        return None
    return path.joinpath(*parts) if path.is_absolute() else None


class PrivateFolder:
    """Text files under checked names. Reading takes no lock: a file is always whole."""

    def __init__(self, locate: Callable[[], Path | None]) -> None:
        self._locate = locate

    @property
    def path(self) -> Path:
        """Where it is. Raises LocalProblem for a user without a home."""
        path = self._locate()
        if path is None:
            raise LocalProblem("there is no home folder to keep this in", hint="set HOME")
        return path

    def read(self, file: str) -> str | None:
        """The text of `file`, or None where there is none. Raises LocalProblem for one that is not ours."""
        folder = self._locate()
        if folder is None:
            return None
        path = folder / file
        try:
            with open(path, "rb", opener=_without_waiting) as stream:
                data = stream.read(FILE_BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if isinstance(error, PermissionError) and not _reachable(path):
                return None  # somebody else's home: a container with another user, sudo
            raise LocalProblem(f"cannot read {str(path)!r}: {error.strerror}") from None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or len(data) > FILE_BYTES_MAX or "\0" in text:
            raise LocalProblem(f"{str(path)!r} is damaged or not ours", hint="look at it, then remove it")
        return text

    def names(self, suffix: str) -> list[str]:
        """The names, without the suffix and sorted, of the files that have it."""
        folder = self._locate()
        if folder is None:
            return []
        try:
            files = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if isinstance(error, PermissionError) and not _reachable(folder):
                return []
            raise LocalProblem(f"cannot read {str(folder)!r}: {error.strerror}") from None
        stems = (file.removesuffix(suffix) for file in files if file.endswith(suffix))
        return sorted(stem for stem in stems if _NAME.fullmatch(stem))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only one who changes the folder; makes it first. Waits a few seconds for another process.

        Raises LocalProblem where nothing can be written.
        """
        with _explained(self.path):
            _make(self.path)
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _hold(lock, self.path)
            yield
        finally:
            os.close(lock)

    def write(self, file: str, text: str) -> None:
        """Put `text` in the place of `file`, whole or not at all. Only while `changing`."""
        path = self.path / file
        fresh = self.path / f".{file}.new"  # one name, so that a killed process leaves no heap of them
        with _explained(path):
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
                fresh.replace(path)
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise

    def remove(self, file: str) -> bool:
        """Remove `file`; says whether it was there. Only while `changing`."""
        path = self.path / file
        with _explained(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
        return True


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting for the other end of what may be a FIFO."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _reachable(path: Path) -> bool:
    """Is `path` there as far as we may look?"""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _make(folder: Path) -> None:
    """Make the folder and its missing parents, for the user alone (XDG base directories: 0700)."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalProblem(f"cannot write {str(path)!r}: {error.strerror}") from None
    except UnicodeEncodeError:
        raise LocalProblem(f"cannot write {str(path)!r}: a name in it is not valid UTF-8") from None


def _hold(lock: int, folder: Path) -> None:
    """Take the lock, which its descriptor's end gives back."""
    if sys.platform == "win32":
        return
    patience = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > patience:
                raise LocalProblem(f"another process keeps {str(folder)!r} locked") from None
            time.sleep(0.01)
        except OSError:
            return  # a file system without locks; a rename still leaves every file whole
        else:
            return
