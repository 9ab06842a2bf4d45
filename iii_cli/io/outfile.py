"""Output files that appear when they are whole, and what else `-o PATH` may name."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, final

import anyio

from iii_cli.errors import LocalProblem, UsageProblem, cannot_write
from iii_cli.io.descriptors import descriptor_named
from iii_cli.io.sinks import Buffer, DescriptorSink, Sink, StdoutSink, TerminalGuard, flush_to_disk

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("InPlaceFile", "OutFile", "discard_unfinished", "open_output", "share_a_file")

FIRST_WAIT, LONGEST_WAIT = 0.005, 0.2  # seconds between two looks at a FIFO that nobody reads yet
NAME_BYTES = 200  # of FILE's name in the temporary one, which may have 255 in all


def open_output(path: str | None, *, no_clobber: bool = False, keep_partial: bool = False) -> Sink:
    """The sink for `-o PATH`, not yet opened: all is checked that can be before a channel's end is taken.

    None is stdout, guarded if it is a terminal; `-` is stdout as it is. A FILE that exists and is not a
    regular file is written in place. `no_clobber` refuses any FILE that exists, whatever it is.

    Raises UsageProblem (no name) and LocalProblem.
    """
    if path is None:
        sink = StdoutSink()
        return TerminalGuard(sink) if sink.is_terminal else sink
    if path == "-":
        return StdoutSink()
    if not path or "\0" in path:
        raise UsageProblem("-o needs the name of a file, or `-` for standard output")
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    except OSError as error:
        raise cannot_write(path, error) from None
    if old is not None and no_clobber:
        raise LocalProblem(f"{path} exists, and --no-clobber keeps it")
    named = descriptor_named(path)
    if named is not None:
        return DescriptorSink(named, name=path, owned=False)
    if path.endswith("/") or (old is not None and stat.S_ISDIR(old.st_mode)):
        raise cannot_write(path, "it is a folder")
    if old is not None and not os.access(path, os.W_OK):
        raise cannot_write(path, "it is read-only for you")
    if old is not None and not stat.S_ISREG(old.st_mode):
        return InPlaceFile(path, is_fifo=stat.S_ISFIFO(old.st_mode))
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise cannot_write(path, f"no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = None if old is None else f"`> {path}` writes without a second file"
        raise cannot_write(path, f"{folder} is read-only for you", hint=hint)
    return OutFile(path, old, no_clobber=no_clobber, keep_partial=keep_partial)


def share_a_file(paths: Sequence[str]) -> bool:
    """Do two of the paths name the same FILE, however they are spelled? A device takes more than one."""
    files = [os.path.realpath(path) for path in paths if os.path.isfile(path) or not os.path.exists(path)]
    return len(set(files)) < len(files)


class _LateSink(Sink):
    """Writes to a DescriptorSink that `open` makes."""

    _sink: DescriptorSink | None = None

    async def write(self, chunk: Buffer) -> None:
        await self.open()
        assert self._sink is not None
        try:
            await self._sink.write(chunk)
        finally:
            self.bytes_written = self._sink.bytes_written


@final
class InPlaceFile(_LateSink):
    """Written where it is. There is nothing to rename, so a failure may leave a part behind."""

    def __init__(self, path: str, *, is_fifo: bool) -> None:
        self.name = path
        self._is_fifo = is_fifo
        self._closed = False

    @property
    def durable(self) -> bool:
        return self._sink is not None and self._sink.durable

    async def open(self) -> None:
        """Waits for the reader of a FIFO, which can be cancelled. Raises LocalProblem."""
        wait = FIRST_WAIT
        while self._sink is None and not self._closed:
            try:
                fd = os.open(self.name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            except OSError as error:
                if not (self._is_fifo and error.errno == errno.ENXIO):
                    raise cannot_write(self.name, error) from None
                await anyio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                self._sink = DescriptorSink(fd, name=self.name, owned=True)

    async def finish(self) -> None:
        """Opens it even for no bytes at all: the reader of a FIFO waits for its end."""
        await self.open()
        assert self._sink is not None
        await self._sink.finish()

    def discard(self) -> None:
        self._closed = True
        if self._sink is not None:
            self._sink.discard()


@final
class OutFile(_LateSink):
    """A regular file that appears, or is replaced, at `finish`.

    Until then it has no name where the system can do without one, so that nothing that ends us leaves it
    behind. Elsewhere it has a temporary name, which every exit of ours removes. With `keep_partial` it is
    FILE.part from the beginning.
    """

    durable = True

    def __init__(
        self, path: str, old: os.stat_result | None, *, no_clobber: bool = False, keep_partial: bool = False
    ) -> None:
        """Use `open_output`. `old`: what is at `path` now."""
        self.name = path
        self._target = os.path.realpath(path)  # symlinks are followed: what they point to is replaced
        self._folder = os.path.dirname(self._target)
        self._no_clobber = no_clobber
        self._keep_partial = keep_partial
        self._old = old
        self._mode = _mode_of_new_files() if old is None else stat.S_IMODE(old.st_mode) & 0o777
        self._opened = False
        self._path: str | None = None  # of what is written, while it has a name of its own
        self._fd = -1

    async def open(self) -> None:
        if self._opened:
            return
        self._opened = True
        try:
            self._fd = self._open_part() if self._keep_partial else self._open_temporary()
        except OSError as error:
            name = f"{self._target}.part" if self._keep_partial else self.name
            raise cannot_write(name, error) from None
        _unfinished.add(self)
        self._sink = DescriptorSink(self._fd, name=self.name, owned=True)

    async def write(self, chunk: Buffer) -> None:
        await self.open()
        if self._keep_partial and not self.bytes_written and len(chunk):
            self._empty()
        await super().write(chunk)

    async def finish(self) -> None:
        """Flush to the disk, take FILE's place, flush the folder. On failure it discards by itself.

        The permissions are those of the FILE that is replaced, or what the umask gives.
        """
        await self.open()
        try:
            if not self.bytes_written:
                self._empty()
            self._dress()
            await flush_to_disk(self._fd, self.bytes_written)
            nameless = self._path is None
            self._take_place()
            if nameless:  # once more: btrfs keeps nothing of a file that had no name when it was flushed
                await flush_to_disk(self._fd, 0)
            await self._flush_folder()
        except OSError as error:
            raise cannot_write(self.name, error) from None
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was written, or leave it as FILE.part. FILE itself stays as it was.

        An empty part is removed. One that nothing was written to is still that of an earlier attempt.
        """
        _unfinished.discard(self)
        path, self._path = self._path, None
        try:
            if path is not None and self._keep_partial and os.fstat(self._fd).st_size:
                if self.bytes_written:
                    self._dress()
            elif path is not None:
                os.unlink(path)
        except OSError:
            pass  # there is nothing else to save
        finally:
            if self._sink is not None:
                self._sink.discard()
                self._sink = None

    def _open_temporary(self) -> int:
        """A file without a name. One with a temporary name where the system has none such. Raises OSError."""
        with suppress(OSError, AttributeError):  # a file system, or a system, that cannot do it
            fd = os.open(self._folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
            if os.path.exists(_by_descriptor(fd)):
                return fd
            os.close(fd)  # without /proc it would never get a name
        path = self._temporary_name()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._path = path
        return fd

    def _temporary_name(self) -> str:
        base = os.fsdecode(os.fsencode(os.path.basename(self._target))[:NAME_BYTES])
        return os.path.join(self._folder, f".{base}.{os.urandom(6).hex()}.iii")

    def _open_part(self) -> int:
        """FILE.part, for us alone. What an earlier attempt left in it stays until there is something better.

        Raises OSError, and LocalProblem where another process writes it.
        """
        path = f"{self._target}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        while True:
            fd = os.open(path, flags, 0o600)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise cannot_write(path, "it is not a regular file")
                _lock(fd, path)
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    self._path = path
                    return fd
            except FileNotFoundError:
                pass  # the one who had it finished while we opened it: it is FILE by now
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _empty(self) -> None:
        try:
            os.ftruncate(self._fd, 0)
        except OSError as error:
            raise cannot_write(self.name, error) from None

    def _dress(self) -> None:
        """Give the file the owner and the permissions that FILE had, as far as we may."""
        mode, old, new = self._mode, self._old, os.fstat(self._fd)
        if old is not None and old.st_gid != new.st_gid and not self._owned_by(-1, old.st_gid):
            mode &= ~0o070  # what one group was allowed is not for another one
        if old is not None and old.st_uid != new.st_uid:
            self._owned_by(old.st_uid, -1)
        os.fchmod(self._fd, mode)

    def _owned_by(self, user: int, group: int) -> bool:
        try:
            os.fchown(self._fd, user, group)
        except OSError:
            return False
        return True

    def _take_place(self) -> None:
        """Become FILE. Raises OSError, and LocalProblem for a FILE that `no_clobber` keeps."""
        try:
            if self._path is None:
                self._give_name(self._target)
            elif self._no_clobber:
                self._take_free_place(self._path)
            else:
                os.replace(self._path, self._target)
        except FileExistsError:
            if self._no_clobber:
                raise LocalProblem(f"{self.name} exists by now, and --no-clobber keeps it") from None
            self._path = self._temporary_name()
            self._give_name(self._path)
            os.replace(self._path, self._target)
        self._path = None

    def _give_name(self, path: str) -> None:
        """A name for the file that has none. Raises OSError, FileExistsError where the name is taken."""
        # With a descriptor, which an absolute path ignores, Python calls linkat(), which follows symlinks.
        os.link(_by_descriptor(self._fd), path, src_dir_fd=self._fd, follow_symlinks=True)

    def _take_free_place(self, path: str) -> None:
        """As `_give_name`, for a file that has a name."""
        try:
            os.link(path, self._target)  # unlike rename(), it never replaces
        except OSError:
            if os.path.lexists(self._target):
                raise
            os.rename(path, self._target)  # a file system without hard links
        else:
            os.unlink(path)

    async def _flush_folder(self) -> None:
        """Make the new name last. A folder that may not be opened for reading is left to the system."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            await flush_to_disk(folder, 0)
        finally:
            os.close(folder)


_unfinished: set[OutFile] = set()


def discard_unfinished() -> None:
    """Remove what has a temporary name: for every exit, also one that does not wait for the clean-up."""
    for file in list(_unfinished):
        file.discard()


def _by_descriptor(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _lock(fd: int, path: str) -> None:
    """Be the only one who writes it, until the descriptor is closed. Raises LocalProblem."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise cannot_write(path, "another process is writing it") from None
    except OSError:
        return  # a file system without locks


def _mode_of_new_files() -> int:
    """0666 without the umask, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask
