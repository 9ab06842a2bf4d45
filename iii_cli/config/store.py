"""Contexts and saved refs, in one private folder."""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from iii_cli.errors import Failure, LocalProblem, UnknownTarget, UsageProblem, cannot_read, cannot_write
from iii_cli.protocol.messages import parse, render
from iii_cli.protocol.refs import ChannelRef, Direction, EngineAddress, MalformedAddress, Secret, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = (
    "BOTH_ENDS",
    "Context",
    "ContextStore",
    "FolderState",
    "PrivateFolder",
    "RefState",
    "SavedRef",
    "SavedRefs",
    "absolute",
    "checked_name",
    "checked_token_source",
    "did_you_mean",
    "look_at_contexts",
    "look_at_refs",
    "nearest",
    "read_headers",
    "read_secret_file",
    "read_secret_stdin",
    "read_token_file",
    "token_of",
    "unknown_name",
    "user_folder",
)


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    import difflib

    matches = difflib.get_close_matches(name[:200], known, n=1)
    return matches[0] if matches else None


def did_you_mean(match: str | None, otherwise: str | None = None) -> str | None:
    """The hint that names what was probably meant, or `otherwise`."""
    return f"did you mean {match!r}?" if match else otherwise


def unknown_name(noun: str, name: str, known: Sequence[str], otherwise: str) -> UsageProblem:
    """The error for a name that is not there, with the nearest that is, or `otherwise` as the hint."""
    return UsageProblem(f"no {noun} {name!r}", hint=did_you_mean(nearest(name, known), otherwise))


SECRET_FILE_BYTES_MAX = 64 << 10  # engines refuse longer headers, and a wrong path must not eat memory
_NAME_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")  # RFC 9110 5.6.2
# Ours to set (RFC 6455 4.1); a second one would break the upgrade or smuggle a body.
_OWN_HEADERS = frozenset({"host", "upgrade", "connection", "content-length", "transfer-encoding"})


def token_of(text: str, source: str) -> Secret:
    """The token in `text`, blanks around it ignored. Raises UsageProblem if no header can carry it."""
    token = text.strip()
    if not token:
        raise UsageProblem(f"{source} holds no token")
    if not all("!" <= character <= "~" for character in token):
        raise UsageProblem(
            f"{source} holds more than a token: blanks, or characters that a header cannot carry"
        )
    return Secret(token)


def read_token_file(path: str, source: str, notices: list[str]) -> Secret:
    """The token in a file, or on stdin for `-`. Raises UsageProblem and LocalProblem."""
    if path == "-":
        if source != "--token-file":
            raise UsageProblem(f"{source} names a file", hint="only --token-file reads stdin")
        return token_of(read_secret_stdin(), "stdin")
    return token_of(read_secret_file(path, source, notices), f"{source} {path!r}")


def read_secret_file(path: str, source: str, notices: list[str]) -> str:
    """The text of a file that others wrote for us: secret mounts are taken as they are, FIFOs too.

    A file that everyone may write adds a notice. Raises LocalProblem.
    """
    try:
        with open(path, "rb") as file:
            everyone_writes = os.fstat(file.fileno()).st_mode & stat.S_IWOTH
            data = file.read(SECRET_FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not _is_somewhere(path):  # perhaps the secret itself
            raise cannot_read(source.removesuffix(" in"), "there is no file of that name") from None
        raise cannot_read(f"{source} {path!r}", error) from None
    if everyone_writes:
        notices.append(f"{path!r} can be changed by everyone; chmod o-w it")
    if len(data) > SECRET_FILE_BYTES_MAX:
        raise LocalProblem(f"{source} {path!r} is too long to hold a secret")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise LocalProblem(f"{source} {path!r} is not text") from None


def _is_somewhere(path: str) -> bool:
    """Does it name a place, though nothing may be there?"""
    folder = os.path.dirname(path)
    return os.path.isabs(path) or (folder != "" and os.path.isdir(folder))


def read_headers(typed: Iterable[str], notices: list[str]) -> tuple[tuple[str, Secret], ...]:
    """`--header NAME=VALUE`, `NAME: VALUE`, or `@FILE` with one of these a line. Names come in lower case.

    Raises UsageProblem, which never repeats a value, and LocalProblem.
    """
    lines: list[str] = []
    for text in typed:
        if text.startswith("@"):
            lines += [
                line for line in read_secret_file(text[1:], "--header", notices).splitlines() if line.strip()
            ]
        else:
            lines.append(text)
    return tuple(_header(line) for line in lines)


def _header(line: str) -> tuple[str, Secret]:
    ends = [at for at in (line.find(":"), line.find("=")) if at > 0]
    name = line[: min(ends)].strip().lower() if ends else ""
    if not name or not _NAME_CHARACTERS.issuperset(name):
        raise UsageProblem(
            "a header is NAME=VALUE", hint="or @FILE with one a line, which keeps it out of `ps`"
        )
    if name in _OWN_HEADERS or name.startswith("sec-websocket-"):
        raise UsageProblem(f"the header {name} belongs to the connection and cannot be set")
    value = line[min(ends) + 1 :].strip()
    if not all(" " <= character <= "~" or character == "\t" for character in value):
        raise UsageProblem(f"the value of the header {name} holds characters that a header cannot carry")
    return name, Secret(value)


def read_secret_stdin() -> str:
    """What comes on stdin, to its end. Raises LocalProblem."""
    if sys.stdin is None:
        raise cannot_read("a secret from stdin", "it is closed")
    try:
        return sys.stdin.read(SECRET_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else "it is closed, or not text"
        raise cannot_read("a secret from stdin", reason) from None


if sys.platform != "win32":
    import fcntl


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
            raise cannot_read(repr(str(path)), error) from None
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
            raise cannot_read(repr(str(folder)), error) from None
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
        raise cannot_write(repr(str(path)), error) from None
    except UnicodeEncodeError:
        raise cannot_write(repr(str(path)), "a name in it is not valid UTF-8") from None


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


SUFFIX = ".toml"
IN_USE = "in-use"
_KEYS = ("url", "namespace", "token", "cacert", "cert", "key", "server_name")


class Context(Struct, frozen=True):
    """An engine by name, and how to be somebody there. `token_source` is env:NAME or file:PATH."""

    name: str
    address: EngineAddress
    namespace: str | None = None
    token_source: str | None = None
    tls: TlsFiles = TlsFiles()

    def token(self, environ: Mapping[str, str], notices: list[str]) -> Secret | None:
        """The token from its source. Raises UsageProblem or LocalProblem where there is none."""
        if self.token_source is None:
            return None
        source = f"the token of context {self.name!r}"
        kind, _, place = self.token_source.partition(":")
        if kind == "file":
            return read_token_file(place, source, notices)
        if not environ.get(place):
            raise UsageProblem(f"{source} is in ${place}, which is not set", hint="set it")
        return token_of(environ[place], f"${place}")

    def fields(self) -> dict[str, str]:
        """What the file holds: no secret but the URL's query."""
        values = (
            self.address.full_url,
            self.namespace,
            self.token_source,
            self.tls.ca_file,
            self.tls.certificate,
            self.tls.key,
            self.tls.server_name,
        )
        return {key: value for key, value in zip(_KEYS, values, strict=True) if value is not None}


class ContextStore:
    """The contexts of this user, or of `folder`. Concurrent changes lose nothing; foreign files stay."""

    def __init__(self, folder: PrivateFolder | None = None) -> None:
        self._folder = folder or PrivateFolder(lambda: user_folder("config", "contexts"))

    def names(self) -> list[str]:
        """All names, sorted. Raises LocalProblem."""
        return self._folder.names(SUFFIX)

    def load(self, name: str) -> Context:
        """The context of that name.

        Raises UsageProblem where there is none and LocalProblem for a file that cannot be understood.
        """
        text = self._folder.read(checked_name(name, "context") + SUFFIX)
        if text is None:
            raise unknown_name("context", name, self.names(), "`iii context ls` lists them")
        return self._parsed(name, text)

    def in_use(self) -> str | None:
        """The name that `use` chose. One attempt to open a file where nothing was chosen."""
        text = self._folder.read(IN_USE)
        if text is None:
            return None
        name = text.strip()
        try:
            return checked_name(name, "context")
        except UsageProblem:
            raise self._foreign(IN_USE, "no name in it") from None

    def for_url(self, address: EngineAddress) -> Context | None:
        """The context of exactly this engine, the one in use first. Skips files that cannot be understood."""
        found = []
        for name in self.names():
            try:
                context = self.load(name)
            except (LocalProblem, UsageProblem):
                continue
            if context.address == address:
                found.append(context)
        if len(found) > 1:
            chosen = self.in_use()
            found.sort(key=lambda context: context.name != chosen)
        return found[0] if found else None

    def save(self, context: Context, *, token: Secret | None = None, force: bool = False) -> Context:
        """Keep the context; a `token` goes to a 0600 file beside it, and the context comes back naming that.

        Raises UsageProblem if the name is taken and not `force`, LocalProblem if its file is not ours.
        """
        name = checked_name(context.name, "context")
        with self._folder.changing():
            text = self._folder.read(name + SUFFIX)
            if text is not None:
                self._parsed(name, text)
                if not force:
                    raise UsageProblem(f"there is a context {name!r} already", hint="--force replaces it")
            if token is not None:
                self._folder.write(f"{name}.token", token.reveal() + "\n")
                path = str(self._folder.path / f"{name}.token")
                context = Context(name, context.address, context.namespace, f"file:{path}", context.tls)
            else:
                self._folder.remove(f"{name}.token")
            self._folder.write(name + SUFFIX, _toml(context.fields()))
        return context

    def use(self, name: str | None) -> None:
        """Make `name` the context in use; None: none is. Raises UsageProblem and LocalProblem."""
        if name is not None:
            self.load(name)
        with self._folder.changing():
            if name is None:
                self._folder.remove(IN_USE)
            else:
                self._folder.write(IN_USE, name + "\n")

    def remove(self, name: str) -> None:
        """Forget a context, its token and, if it was in use, that. Raises UsageProblem and LocalProblem."""
        self.load(name)
        with self._folder.changing():
            self._folder.remove(name + SUFFIX)
            self._folder.remove(f"{name}.token")
            if (self._folder.read(IN_USE) or "").strip() == name:
                self._folder.remove(IN_USE)

    def _parsed(self, name: str, text: str) -> Context:
        import tomllib  # 2 ms that a command without a context does not need

        file = name + SUFFIX
        try:
            fields = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError):
            raise self._foreign(file, "not TOML") from None
        for key, value in fields.items():
            if key not in _KEYS:
                raise self._foreign(file, f"{key[:40]!r} is not a setting of a context")
            if not isinstance(value, str):
                raise self._foreign(file, f"{key!r} is not a text in quotes")
        try:
            return _context(name, fields)
        except (UsageProblem, MalformedAddress) as error:
            raise self._foreign(file, str(error)) from None

    def _foreign(self, file: str, reason: str) -> LocalProblem:
        return LocalProblem(
            f"{str(self._folder.path / file)!r} is damaged or not ours: {reason}", hint="mend or remove it"
        )


def checked_token_source(text: str) -> str:
    """`env:NAME` or `file:PATH`. Raises UsageProblem, which does not repeat the text: it may be a token."""
    kind, _, place = text.partition(":")
    if kind not in ("env", "file") or not place or any(character < " " for character in place):
        raise UsageProblem("a token source is env:NAME or file:PATH, never the token itself")
    return text


def _context(name: str, fields: Mapping[str, str]) -> Context:
    if "url" not in fields:
        raise UsageProblem("it has no url")
    source = fields.get("token")
    return Context(
        name=name,
        address=EngineAddress.parse(fields["url"]),
        namespace=fields.get("namespace"),
        token_source=None if source is None else checked_token_source(source),
        tls=TlsFiles(fields.get("cacert"), fields.get("cert"), fields.get("key"), fields.get("server_name")),
    )


def _toml(fields: Mapping[str, str]) -> str:
    """TOML of plain keys and strings (toml.io, basic strings)."""
    lines = ["# A context of iii; see `iii context`. A token never stands here, only where it is."]
    lines += [f"{key} = {_quoted(value)}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'


RefState = Literal["unused", "used", "expired"]

BOTH_ENDS = (Direction.WRITE, Direction.READ)
REF_SUFFIX = ".json"
VERSION = 1
TLS_FILES = ("ca_file", "certificate", "key")
EXPIRY = (
    300.0  # seconds: the engine sweeps a channel away that has an end not taken by then (protocol.md 4.5)
)
KEPT = 86_400.0  # seconds: how long a spent one stays, to be told from one that never was


class SavedRef(Struct, frozen=True):
    """A channel, the ends of it that we were given, and what became of them. Times are Unix seconds."""

    name: str
    channel_id: str
    access_key: Secret
    engine_url: str  # in full: its query may hold a token
    created_at: float
    ends: tuple[Direction, ...] = BOTH_ENDS
    buffer: int | None = None
    used: tuple[tuple[Direction, float], ...] = ()
    tls: TlsFiles = TlsFiles()  # absolute paths: it may be used in another folder

    def __repr__(self) -> str:
        return f"SavedRef({self.name!r})"

    def ref(self, direction: Direction) -> ChannelRef:
        """The channel's end in `direction`."""
        return ChannelRef(self.channel_id, self.access_key, direction)

    def used_at(self, direction: Direction) -> float | None:
        """When a command of ours opened that end; None: none did."""
        return dict(self.used).get(direction)

    def age(self, now: float) -> float:
        """Seconds since its creation; 0 where the clock was set back."""
        return max(0.0, now - self.created_at)

    def state(self, now: float) -> RefState:
        """`used` from the first use of an end; `expired` if none was used while the engine kept it."""
        if self.used:
            return "used"
        return "unused" if self.age(now) < EXPIRY else "expired"

    def end_state(self, direction: Direction, now: float) -> RefState:
        """The same of one end: what was not taken in time is gone, whatever the other end does."""
        if self.used_at(direction) is not None:
            return "used"
        return "unused" if self.age(now) < EXPIRY else "expired"


class SavedRefs:
    """The saved refs of this user, or of `folder`. Concurrent changes lose nothing; foreign files stay."""

    def __init__(self, folder: PrivateFolder | None = None, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder or PrivateFolder(lambda: user_folder("state", "refs"))
        self.now = clock

    def names(self) -> list[str]:
        """All names, sorted, the spent ones too. Raises LocalProblem."""
        return self._folder.names(REF_SUFFIX)

    def load(self, name: str) -> SavedRef:
        """The saved ref of that name.

        Raises UnknownTarget where there is none, and LocalProblem for a file that cannot be understood.
        """
        saved = self._read(checked_name(name, "saved ref"))
        if saved is None:
            match = nearest(name, self.names())
            hint = f"did you mean @{match}?" if match else "`iii ref ls` lists them"
            raise UnknownTarget(f"no saved ref {name!r}", hint=hint, where="local")
        return saved

    def check_free(self, name: str, *, force: bool = False) -> None:
        """Could `save` take this name? Ask before a channel is made for it.

        Raises UsageProblem for a name that is no name or is in use, LocalProblem for a file that is not ours.
        """
        known = self._read(checked_name(name, "saved ref"))
        if known is not None and not force and known.state(self.now()) == "unused":
            raise UsageProblem(f"there is an unused saved ref {name!r} already", hint="--force replaces it")

    def save(self, saved: SavedRef, *, force: bool = False) -> None:
        """Keep it under its name, in the place of a used or expired one; with `force` of any.

        Raises UsageProblem and LocalProblem.
        """
        self.check_free(saved.name, force=force)
        with self._folder.changing():
            self.check_free(saved.name, force=force)
            self._folder.write(saved.name + REF_SUFFIX, _to_text(saved))
            self._prune(self.names())

    def mark_used(self, name: str, ref: ChannelRef) -> None:
        """Note that the end `ref` was opened, unless the name means another channel by now.

        A note that cannot be written is let go: the engine itself refuses a second use.
        """
        with suppress(LocalProblem), self._folder.changing():
            saved = self._read(name)
            if saved is not None and (saved.channel_id, saved.access_key) == (ref.channel_id, ref.access_key):
                used = dict(saved.used)
                used.setdefault(ref.direction, self.now())
                self._folder.write(name + REF_SUFFIX, _to_text(replace(saved, used=tuple(used.items()))))

    def ls(self) -> tuple[list[SavedRef], list[LocalProblem]]:
        """Every saved ref by name, and what is wrong with the files that are none. Forgets day-old ones.

        Raises LocalProblem where the folder cannot be read.
        """
        found, problems = [], []
        for name in self.names():
            try:
                saved = self._read(name)
            except LocalProblem as problem:
                problems.append(problem)
                continue
            if saved is not None:
                found.append(saved)
        stale = [saved.name for saved in found if self._is_stale(saved)]
        if stale:
            with suppress(LocalProblem), self._folder.changing():
                self._prune(stale)
        return [saved for saved in found if saved.name not in stale], problems

    def remove(self, names: Iterable[str]) -> None:
        """Forget these, all or none. Raises UnknownTarget for a name that is not there, and LocalProblem."""
        wanted = [self._known(name) for name in names]
        with self._folder.changing():
            for name in wanted:
                self._folder.remove(name + REF_SUFFIX)

    def _known(self, name: str) -> str:
        """The name, if a file of ours has it. Raises as `load` does."""
        return self.load(name).name

    def _prune(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(LocalProblem):
                saved = self._read(name)
                if saved is not None and self._is_stale(saved):
                    self._folder.remove(name + REF_SUFFIX)

    def _is_stale(self, saved: SavedRef) -> bool:
        return saved.age(self.now()) >= KEPT

    def _read(self, name: str) -> SavedRef | None:
        text = self._folder.read(name + REF_SUFFIX)
        if text is None:
            return None
        try:
            return _from_json(name, parse(text))
        except ValueError:  # never its own text, which may hold a key
            path = str(self._folder.path / (name + REF_SUFFIX))
            raise LocalProblem(
                f"{path!r} is damaged or not a saved ref", hint="look at it, then remove it"
            ) from None


def _to_text(saved: SavedRef) -> str:
    body = {
        "saved_ref": VERSION,
        "channel_id": saved.channel_id,
        "access_key": saved.access_key.reveal(),
        "engine_url": saved.engine_url,
        "created_at": saved.created_at,
        "ends": [direction.value for direction in saved.ends],
        "buffer": saved.buffer,
        "used": {direction.value: at for direction, at in saved.used},
        "tls": {name: value for name, value in _tls_fields(saved.tls) if value is not None},
    }
    return render(body) + "\n"


def _from_json(name: str, body: Any) -> SavedRef:
    """Raises ValueError for whatever `_to_text` cannot have written."""
    if not isinstance(body, dict) or body.get("saved_ref") != VERSION:
        raise ValueError
    channel_id, key, url, buffer = (body.get(k) for k in ("channel_id", "access_key", "engine_url", "buffer"))
    if not (
        isinstance(channel_id, str) and channel_id and isinstance(key, str) and key and isinstance(url, str)
    ):
        raise ValueError
    if not (buffer is None or type(buffer) is int):
        raise ValueError
    try:
        EngineAddress.parse(url)
    except MalformedAddress:
        raise ValueError from None
    return SavedRef(
        name=name,
        channel_id=channel_id,
        access_key=Secret(key),
        engine_url=url,
        created_at=_time(body.get("created_at")),
        ends=_ends(body.get("ends")),
        buffer=buffer,
        used=_used(body.get("used")),
        tls=_tls(body.get("tls", {})),
    )


def absolute(tls: TlsFiles) -> TlsFiles:
    """The same files, wherever they are named from."""
    files = {name: os.path.abspath(value) for name, value in _tls_fields(tls) if value and name in TLS_FILES}
    return replace(tls, **files)


def _tls_fields(tls: TlsFiles) -> list[tuple[str, str | None]]:
    return [(name, getattr(tls, name)) for name in (*TLS_FILES, "server_name")]


def _tls(value: Any) -> TlsFiles:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError
    return TlsFiles(*(value.get(name) for name in (*TLS_FILES, "server_name")))


def _time(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e11:  # the year 5138; NaN is not either
        raise ValueError
    return float(value)


def _ends(value: Any) -> tuple[Direction, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return tuple(dict.fromkeys(Direction(end) for end in value))


def _used(value: Any) -> tuple[tuple[Direction, float], ...]:
    if not isinstance(value, dict):
        raise ValueError
    marks: Mapping[str, Any] = value
    return tuple((Direction(end), _time(at)) for end, at in marks.items())


FILES_MAX = 1000  # that are looked at; nobody has more
OTHERS = 0o077  # permission bits of everybody but the user


class FolderState:
    """`path` None: a user without a home. `problems` are failures as our commands would meet them."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.exists = False
        self.writable = False  # or could be made
        self.names: list[str] = []
        self.problems: list[Failure] = []
        self.exposed: list[str] = []  # paths that other users may read or change


def look_at_contexts() -> FolderState:
    """The contexts, each read as a command would. Changes nothing, raises nothing."""
    store = ContextStore()

    def load(name: str) -> None:
        store.load(name)

    state = _look(user_folder("config", "contexts"), store.names, load)
    try:
        chosen = store.in_use()
        if chosen is not None and chosen not in state.names:
            state.problems.append(
                LocalProblem(f"the context in use, {chosen!r}, is not there", hint="`iii context use --none`")
            )
    except Failure as failure:
        state.problems.append(failure)
    return state


def look_at_refs() -> FolderState:
    """The saved refs, likewise."""
    saved = SavedRefs()

    def load(name: str) -> None:
        saved.load(name)

    return _look(user_folder("state", "refs"), saved.names, load)


def _look(folder: Path | None, names: Callable[[], list[str]], load: Callable[[str], None]) -> FolderState:
    state = FolderState()
    if folder is None:
        return state
    state.path = str(folder)
    state.exists = os.path.lexists(folder)
    state.writable = _writable(folder)
    try:
        state.names = names()[:FILES_MAX]
    except Failure as failure:
        state.problems.append(failure)
    for name in state.names:
        try:
            load(name)
        except Failure as failure:
            state.problems.append(failure)
    state.exposed = sorted(_exposed(folder))
    return state


def _exposed(folder: Path) -> Iterable[str]:
    """The folder, where others may look into it, and the files in it that they may read."""
    with suppress(OSError):
        if not stat.S_IMODE(folder.stat().st_mode) & OTHERS:
            return  # whatever the files allow, nobody gets there
        yield str(folder)
        for entry in list(os.scandir(folder))[:FILES_MAX]:
            with suppress(OSError):
                if entry.is_file() and stat.S_IMODE(entry.stat().st_mode) & OTHERS:
                    yield entry.path


def _writable(folder: Path) -> bool:
    """Could a file be made there? Asks the nearest folder above that exists."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)
    return False
