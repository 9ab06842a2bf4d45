"""`-o FILE`: written beside FILE and renamed over it at the end (design.md section 3).

Whoever looks at FILE sees the old content or the whole new one, never a part, however we end.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, final

from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.terminal.descriptors import descriptor_named
from iii_cli.terminal.inplace import InPlaceFile
from iii_cli.terminal.sinks import Buffer, DescriptorSink, Sink, cannot_write

if TYPE_CHECKING:
    from typing import Self

__all__ = ("OutFile",)

NAME_BYTES = 200  # of FILE's name in the temporary one, which may have 255 in all


@final
class OutFile(Sink):
    """A regular file that appears, or is replaced, at `finish`.

    `partial` is the path of what `discard` kept, None if it kept nothing.
    """

    durable = True

    def __init__(
        self, path: str, *, no_clobber: bool, keep_partial: bool, old: os.stat_result | None
    ) -> None:
        """Use `prepare`."""
        self.name = path
        self.partial: str | None = None
        self._target = os.path.realpath(path)  # symlinks are followed: what they point to is replaced
        self._folder = os.path.dirname(self._target)
        self._no_clobber = no_clobber
        self._keep_partial = keep_partial
        self._old = old
        self._mode = _mode_of_new_files() if old is None else stat.S_IMODE(old.st_mode) & 0o777
        self._opened = False
        self._temporary: str | None = None
        self._fd = -1
        self._sink: DescriptorSink | None = None

    @classmethod
    def prepare(cls, path: str, *, no_clobber: bool = False, keep_partial: bool = False) -> Sink:
        """Check everything that can be checked before an end of a channel is opened. Creates nothing.

        A FILE that exists and is not a regular file is written in place: the Sink is another one then.
        `no_clobber` refuses any FILE that exists, whatever it is. Raises UsageProblem (no name) and
        LocalProblem.
        """
        if not path or "\0" in path:
            raise UsageProblem("-o needs the name of a file, or `-` for standard output")
        old = _stat(path)
        if old is not None and no_clobber:
            raise LocalProblem(f"{path} exists, and --no-clobber keeps it")
        named = descriptor_named(path)
        if named is not None:
            return DescriptorSink(named, name=path, owned=False)
        if path.endswith("/") or (old is not None and stat.S_ISDIR(old.st_mode)):
            raise LocalProblem(f"cannot write to {path}: it is a folder")
        if old is not None and not os.access(path, os.W_OK):
            raise LocalProblem(f"cannot write to {path}: it is read-only for you")
        if old is not None and not stat.S_ISREG(old.st_mode):
            return InPlaceFile(path, is_fifo=stat.S_ISFIFO(old.st_mode))
        return cls(path, no_clobber=no_clobber, keep_partial=keep_partial, old=old)._with_folder()

    async def open(self) -> None:
        if self._opened:
            return
        base = os.fsdecode(os.fsencode(os.path.basename(self._target))[:NAME_BYTES])
        temporary = os.path.join(self._folder, f".{base}.{os.urandom(6).hex()}.iii")
        try:
            self._fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise cannot_write(self.name, error) from None
        self._opened, self._temporary = True, temporary
        self._sink = DescriptorSink(self._fd, name=self.name, owned=True)

    async def write(self, chunk: Buffer) -> None:
        await self.open()
        assert self._sink is not None
        try:
            await self._sink.write(chunk)
        finally:
            self.bytes_written = self._sink.bytes_written

    async def finish(self) -> None:
        """Flush to the disk, take FILE's place, flush the folder. On failure it discards by itself.

        The permissions are those of the FILE that is replaced, or what the umask gives.
        """
        await self.open()
        sink, self._sink = self._sink, None
        assert sink is not None
        try:
            self._dress()
            await sink.finish()
            self._take_place()
            self._flush_folder()
        except OSError as error:
            raise cannot_write(self.name, error) from None
        finally:
            sink.discard()
            self.discard()

    def discard(self) -> None:
        """Remove what was written, or keep it as FILE.part. FILE itself stays as it was.

        An empty part is never kept: it would replace the good one of an earlier attempt.
        """
        temporary, self._temporary = self._temporary, None
        if temporary is None:
            return
        try:
            if self._keep_partial and self.bytes_written:
                self.partial = temporary
                if self._sink is not None:
                    self._dress()
                os.replace(temporary, f"{self._target}.part")
                self.partial = f"{self._target}.part"
            else:
                os.unlink(temporary)
        except OSError:
            pass  # `partial` says where the data is; there is nothing else to save
        finally:
            if self._sink is not None:
                self._sink.discard()
                self._sink = None

    def _with_folder(self) -> Self:
        if not os.path.isdir(self._folder):
            raise LocalProblem(f"cannot write to {self.name}: no folder {self._folder}")
        if not os.access(self._folder, os.W_OK | os.X_OK):
            hint = f"`> {self.name}` writes without a second file" if self._old is not None else None
            raise LocalProblem(f"cannot write to {self.name}: {self._folder} is read-only for you", hint=hint)
        return self

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
        assert self._temporary is not None
        if self._no_clobber:
            self._take_free_place(self._temporary)
        else:
            os.replace(self._temporary, self._target)
        self._temporary = None

    def _take_free_place(self, temporary: str) -> None:
        try:
            os.link(temporary, self._target)  # unlike rename(), it never replaces
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise LocalProblem(f"{self.name} exists by now, and --no-clobber keeps it") from None
            if os.path.lexists(self._target):
                raise
            os.rename(temporary, self._target)  # a file system without hard links
        else:
            os.unlink(temporary)

    def _flush_folder(self) -> None:
        """Make the new name last. A folder that may not be opened for reading is left to the system."""
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
                raise
        finally:
            os.close(folder)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot_write(path, error) from None


def _mode_of_new_files() -> int:
    """0666 without the umask, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask
