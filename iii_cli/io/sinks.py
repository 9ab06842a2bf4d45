"""Where bytes go: stdout, and files that appear when they are whole."""

from __future__ import annotations

import errno
import os
import select
import stat
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, final

import anyio
import anyio.to_thread

from iii_cli.errors import LocalProblem, UsageProblem, cannot_write
from iii_cli.io.console import clean, talk
from iii_cli.io.descriptors import Kind, descriptor_named, grow_pipe, kind_of, own_description, writable
from iii_cli.io.sources import Turns
from iii_cli.net.sockets import wait_writable

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence
    from typing import Self

__all__ = (
    "Buffer",
    "DescriptorSink",
    "InPlaceFile",
    "OutFile",
    "Sink",
    "StdoutSink",
    "TerminalGuard",
    "discard_unfinished",
    "flush_to_disk",
    "open_output",
    "share_a_file",
)


Buffer = bytes | bytearray | memoryview

JOIN_BYTES = 64 << 10  # below this one copy is cheaper than one more system call
SLOW_SYNC_BYTES = 8 << 20  # a flush of more than this may take seconds, which the loop cannot spare


PIPE_BUF = 4096  # what a writable pipe takes without blocking (pipe(7))


@final
class _Outlet:
    """Raises OSError where `fd` is not open for writing. Never closes `fd`."""

    def __init__(self, fd: int) -> None:
        if not writable(fd):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.kind = kind_of(fd)
        self._fd = fd
        self._own: int | None = None
        self._socket: socket.socket | None = None
        if self.kind is Kind.SOCKET:
            self._open_socket()
        elif self.kind in {Kind.PIPE, Kind.TERMINAL}:
            if self.kind is Kind.PIPE:
                grow_pipe(fd)
            self._own = own_description(fd, os.O_WRONLY)
        self._blocks = self._own is None and self._may_block()

    @property
    def ready_fd(self) -> int:
        """The descriptor to wait for after a BlockingIOError."""
        return self._fd if self._own is None else self._own

    def offer(self, data: memoryview) -> int:
        """Write a part of `data`; how much. Raises OSError, and BlockingIOError where nothing fits."""
        if self._socket is not None:
            return self._socket.send(data, self._flags)
        if self._blocks:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            if not poll.poll(0):
                raise BlockingIOError
            return os.write(self._fd, data[:PIPE_BUF])
        return os.write(self.ready_fd, data)

    def close(self) -> None:
        """Give back what was opened here. Safe to repeat. Raises OSError."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if self._own is not None:
            own, self._own, self._blocks = self._own, None, True
            os.close(own)

    def _may_block(self) -> bool:
        """Not a file, and no device such as /dev/null, which epoll refuses because it is always ready."""
        if self.kind in {Kind.FILE, Kind.BLOCK}:
            return False
        if self.kind is not Kind.DEVICE or not hasattr(select, "epoll"):
            return True
        with select.epoll() as probe:
            try:
                probe.register(self._fd, select.EPOLLOUT)
            except PermissionError:
                return False
        return True

    def _open_socket(self) -> None:
        import socket

        self._socket = socket.socket(fileno=self._fd)
        self._flags = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)


class Sink(ABC):
    """Where bytes go. One writer at a time. Ends with either `finish` or `discard`.

    Opens itself at the first write; `open` does it earlier, so that a failure costs no channel end.
    """

    name: str
    bytes_written: int = 0

    @property
    @abstractmethod
    def durable(self) -> bool:
        """Are the bytes on a disk once `finish` has returned? What a receipt may promise."""

    def has_readers(self) -> bool:
        """Does anybody hold the other end of it, where it is a pipe?"""
        return False

    async def open(self) -> None:
        """Be ready for the first byte. Safe to repeat and to leave out. Raises LocalProblem."""
        return

    def expect_text(self) -> None:  # noqa: B027 - for those that a person looks at
        """From now on every chunk is whole text messages of a worker."""

    @abstractmethod
    async def write(self, chunk: Buffer) -> None:
        """Write all of it. Cancelled, a part may have been written; `bytes_written` says how much.

        Raises LocalProblem (a full disk, an I/O error) and BrokenPipeError (the reader left).
        """

    async def write_many(self, chunks: Iterable[Buffer]) -> None:
        """Write all of them in order, small ones together. Raises and loses as `write`."""
        waiting: list[Buffer] = []
        size = 0
        for chunk in chunks:
            if waiting and size + len(chunk) > JOIN_BYTES:
                await self.write(_joined(waiting))
                waiting, size = [], 0
            waiting.append(chunk)
            size += len(chunk)
        await self.write(_joined(waiting))

    def judge(self, status: int, *, verified: bool, count: int) -> None:  # noqa: B027 - few can pass it on
        """Before `finish`: how the stream ended, as an exit status, and how many bytes it had."""

    @abstractmethod
    async def finish(self) -> None:
        """The data is complete: flush and close, and hear what that has to say. Raises LocalProblem."""

    @abstractmethod
    def discard(self) -> None:
        """The data is not complete: close, and leave nothing that looks whole. Safe to repeat."""


class DescriptorSink(Sink):
    """A descriptor that may be a file, a pipe, a socket, a terminal or a device."""

    def __init__(self, fd: int, *, name: str, owned: bool) -> None:
        """`owned`: finish() and discard() close it. Raises LocalProblem where it is not open for writing."""
        self.name = name
        self._fd = fd
        self._owned = owned
        self._writing = False
        self._discarded = False
        self._turns = Turns()
        try:
            self._outlet = _Outlet(fd)
        except OSError:
            raise cannot_write(name, "it is closed") from None

    @property
    def durable(self) -> bool:
        return self._outlet.kind in {Kind.FILE, Kind.BLOCK}

    @property
    def is_terminal(self) -> bool:
        """Does a person read this?"""
        return self._outlet.kind is Kind.TERMINAL

    def has_readers(self) -> bool:
        if self._discarded or self._outlet.kind is not Kind.PIPE:
            return False
        poll = select.poll()
        poll.register(self._outlet.ready_fd, 0)  # errors and hang-ups are told unasked
        return not poll.poll(0)

    async def write(self, chunk: Buffer) -> None:
        rest = memoryview(chunk).cast("B")
        self._writing = True
        try:
            while rest:
                await self._turns.give()
                rest = rest[await self._write_some(rest) :]
        except (BrokenPipeError, ConnectionResetError) as error:
            raise BrokenPipeError(error.errno, "the reader left") from None
        except OSError as error:
            raise cannot_write(self.name, error) from None
        finally:
            self._writing = False
            if self._discarded:
                self.discard()

    async def _write_some(self, rest: memoryview) -> int:
        while True:
            try:
                count = self._outlet.offer(rest)
            except BlockingIOError:
                await wait_writable(self._outlet.ready_fd)
            else:
                self.bytes_written += count
                return count

    async def finish(self) -> None:
        try:
            if self.durable:
                await flush_to_disk(self._fd, self.bytes_written)
            # Network file systems report late write errors at close(), the close of a duplicate included.
            os.close(os.dup(self._fd))
            self._close()
        except OSError as error:
            raise cannot_write(self.name, error) from None
        finally:
            self.discard()

    def discard(self) -> None:
        """Close it. Does not wake a writer: cancel it. The descriptor lives until it has gone, see Source."""
        self._discarded = True
        if self._writing:
            return
        try:
            self._close()
        except OSError:
            return  # the data is given up anyway

    def _close(self) -> None:
        try:
            self._outlet.close()
        finally:
            if self._owned:
                self._owned = False
                os.close(self._fd)


class StdoutSink(DescriptorSink):
    """Descriptor 1, as the shell gave it to us. Raises LocalProblem where it is closed."""

    def __init__(self) -> None:
        super().__init__(1, name="standard output", owned=False)

    async def write(self, chunk: Buffer) -> None:
        await super().write(chunk)
        if self.is_terminal:
            talk.data_was_shown(bytes(chunk[-1:]))


async def flush_to_disk(fd: int, bytes_written: int) -> None:
    """fsync. Cancelled, it waits for the disk all the same. Raises OSError."""
    try:
        if bytes_written < SLOW_SYNC_BYTES:
            os.fsync(fd)
        else:
            await anyio.to_thread.run_sync(os.fsync, fd)
    except OSError as error:
        if error.errno not in {
            errno.EINVAL,
            errno.ENOTSUP,
        }:  # fsync(2): nothing behind it that could be flushed
            raise


def _joined(chunks: list[Buffer]) -> Buffer:
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


FIRST_WAIT, LONGEST_WAIT = 0.005, 0.2  # seconds between two looks at a FIFO that nobody reads yet


@final
class InPlaceFile(Sink):
    """Written where it is. There is nothing to rename, so a failure may leave a part behind."""

    def __init__(self, path: str, *, is_fifo: bool) -> None:
        self.name = path
        self._is_fifo = is_fifo
        self._sink: DescriptorSink | None = None
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

    async def write(self, chunk: Buffer) -> None:
        await self.open()
        assert self._sink is not None
        try:
            await self._sink.write(chunk)
        finally:
            self.bytes_written = self._sink.bytes_written

    async def finish(self) -> None:
        """Opens it even for no bytes at all: the reader of a FIFO waits for its end."""
        await self.open()
        assert self._sink is not None
        await self._sink.finish()

    def discard(self) -> None:
        self._closed = True
        if self._sink is not None:
            self._sink.discard()


NAME_BYTES = 200  # of FILE's name in the temporary one, which may have 255 in all


@final
class OutFile(Sink):
    """A regular file that appears, or is replaced, at `finish`.

    Until then it has no name where the system can do without one, so that nothing that ends us leaves it
    behind. Elsewhere it has a temporary name, which every exit of ours removes. With `keep_partial` it is
    FILE.part from the beginning.
    """

    durable = True

    def __init__(
        self, path: str, *, no_clobber: bool, keep_partial: bool, old: os.stat_result | None
    ) -> None:
        """Use `prepare`."""
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
            raise cannot_write(path, "it is a folder")
        if old is not None and not os.access(path, os.W_OK):
            raise cannot_write(path, "it is read-only for you")
        if old is not None and not stat.S_ISREG(old.st_mode):
            return InPlaceFile(path, is_fifo=stat.S_ISFIFO(old.st_mode))
        return cls(path, no_clobber=no_clobber, keep_partial=keep_partial, old=old)._with_folder()

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
        assert self._sink is not None
        if self._keep_partial and not self.bytes_written and len(chunk):
            self._empty()
        try:
            await self._sink.write(chunk)
        finally:
            self.bytes_written = self._sink.bytes_written

    async def finish(self) -> None:
        """Flush to the disk, take FILE's place, flush the folder. On failure it discards by itself.

        The permissions are those of the FILE that is replaced, or what the umask gives.
        """
        await self.open()
        assert self._sink is not None
        try:
            if not self.bytes_written:
                self._empty()
            self._dress()
            await flush_to_disk(self._fd, self.bytes_written)
            os.close(os.dup(self._fd))  # network file systems report late write errors at close()
            nameless = self._path is None
            self._take_place()
            if nameless:  # once more: btrfs keeps nothing of a file that had no name when it was flushed
                await flush_to_disk(self._fd, 0)
            self._flush_folder()
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

    def _with_folder(self) -> Self:
        if not os.path.isdir(self._folder):
            raise cannot_write(self.name, f"no folder {self._folder}")
        if not os.access(self._folder, os.W_OK | os.X_OK):
            hint = f"`> {self.name}` writes without a second file" if self._old is not None else None
            raise cannot_write(self.name, f"{self._folder} is read-only for you", hint=hint)
        return self

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
                return
            if not self._no_clobber:
                os.replace(self._path, self._target)
            elif self._take_free_place(self._path):
                os.unlink(self._path)
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

    def _take_free_place(self, path: str) -> bool:
        """Is it FILE now, beside its old name, which is left to the caller? Raises as `_give_name` does."""
        try:
            os.link(path, self._target)  # unlike rename(), it never replaces
        except OSError:
            if os.path.lexists(self._target):
                raise
            os.rename(path, self._target)  # a file system without hard links
            return False
        return True

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


@final
class TerminalGuard(Sink):
    """Keep off a person's terminal what is not for it (design.md section 3).

    Bytes are shown as they are, up to the first NUL: what follows is no text. Text messages of a worker are
    shown without what would move the cursor.
    """

    def __init__(self, inner: Sink) -> None:
        self.name = inner.name
        self._inner = inner
        self._is_text = False

    @property
    def durable(self) -> bool:
        return self._inner.durable

    async def open(self) -> None:
        await self._inner.open()

    def expect_text(self) -> None:
        self._is_text = True

    async def write(self, chunk: Buffer) -> None:
        """Write what may be shown. Raises LocalProblem at a NUL among bytes, and as the inner sink does."""
        data, nul = bytes(chunk), b""
        if self._is_text:
            await self._inner.write(clean(data.decode(errors="replace"), keep_newlines=True).encode())
        else:
            data, nul, _ = data.partition(b"\0")
            await self._inner.write(data)
        self.bytes_written += len(data)
        if nul:
            raise LocalProblem(
                "binary data (a NUL byte), which the terminal does not get",
                hint="`-o FILE` saves it, `-o -` shows it all the same",
            )

    async def finish(self) -> None:
        await self._inner.finish()

    def discard(self) -> None:
        self._inner.discard()


def share_a_file(paths: Sequence[str]) -> bool:
    """Do two of the paths name the same FILE, however they are spelled? A device takes more than one."""
    files = [os.path.realpath(path) for path in paths if os.path.isfile(path) or not os.path.exists(path)]
    return len(set(files)) < len(files)


def open_output(path: str | None, *, no_clobber: bool = False, keep_partial: bool = False) -> Sink:
    """The sink for `-o PATH`, checked but not yet opened. None: stdout, guarded if it is a terminal.

    `-` is stdout as it is. Raises UsageProblem and LocalProblem.
    """
    if path is None:
        sink = StdoutSink()
        return TerminalGuard(sink) if sink.is_terminal else sink
    if path == "-":
        return StdoutSink()
    return OutFile.prepare(path, no_clobber=no_clobber, keep_partial=keep_partial)
