"""Contexts and saved refs, each in a private folder, a file a name; and the secrets in files of others."""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from iii_cli.errors import Failure, LocalProblem, UnknownTarget, UsageProblem, cannot_read, cannot_write
from iii_cli.protocol.json_text import parse, render
from iii_cli.protocol.refs import ChannelRef, Direction, EngineAddress, MalformedAddress, Secret, TlsFiles

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = (
    "CONTEXT_KEYS",
    "Context",
    "ContextStore",
    "FolderState",
    "PrivateFolder",
    "RefState",
    "SavedRef",
    "SavedRefs",
    "Store",
    "absolute",
    "checked_name",
    "checked_token_source",
    "did_you_mean",
    "nearest",
    "read_headers",
    "read_secret_file",
    "read_secret_stdin",
    "read_token_file",
    "token_of",
    "user_folder",
)

APP_NAME = "iii-cli"  # not `iii`, which is the engine's own
FILE_BYTES_MAX = 256 << 10  # ours are a few hundred bytes; whatever is larger is not ours
LOCK_PATIENCE = 5.0  # seconds; a change takes milliseconds, so a longer holder was stopped half-way
SECRET_FILE_BYTES_MAX = 64 << 10  # engines refuse longer headers, and a wrong path must not eat memory
EXPIRY = (
    300.0  # seconds: the engine drops a channel with an end not taken by then (docs: protocol, "Lifetime")
)
KEPT = 86_400.0  # seconds: how long a spent ref stays, to be told from one that never was
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,98}[A-Za-z0-9_+-])?")


# Names that were mistyped.


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    import difflib

    matches = difflib.get_close_matches(name[:200], known, n=1)
    return matches[0] if matches else None


def did_you_mean(match: str | None, otherwise: str | None = None) -> str | None:
    """The hint that names what was probably meant, or `otherwise`."""
    return f"did you mean {match!r}?" if match else otherwise


# Tokens and headers.

_HEADER_NAME = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")  # RFC 9110 5.6.2
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
        folder = os.path.dirname(path)
        is_place = os.path.isabs(path) or (folder != "" and os.path.isdir(folder))
        if isinstance(error, FileNotFoundError) and not is_place:  # perhaps it is the secret itself
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


def read_secret_stdin() -> str:
    """What comes on stdin, to its end. Raises LocalProblem."""
    if sys.stdin is None:
        raise cannot_read("a secret from stdin", "it is closed")
    try:
        return sys.stdin.read(SECRET_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else "it is closed, or not text"
        raise cannot_read("a secret from stdin", reason) from None


def read_headers(typed: Iterable[str], notices: list[str]) -> tuple[tuple[str, Secret], ...]:
    """`--header NAME=VALUE`, `NAME: VALUE`, or `@FILE` with one of these a line. Names come in lower case.

    Raises UsageProblem, which never repeats a value, and LocalProblem.
    """
    lines: list[str] = []
    for text in typed:
        if text.startswith("@"):
            held = read_secret_file(text[1:], "--header", notices).splitlines()
            lines += [line for line in held if line.strip()]
        else:
            lines.append(text)
    return tuple(_header(line) for line in lines)


def _header(line: str) -> tuple[str, Secret]:
    ends = [at for at in (line.find(":"), line.find("=")) if at > 0]
    name = line[: min(ends)].strip().lower() if ends else ""
    if not name or not _HEADER_NAME.issuperset(name):
        raise UsageProblem(
            "a header is NAME=VALUE", hint="or @FILE with one a line, which keeps it out of `ps`"
        )
    if name in _OWN_HEADERS or name.startswith("sec-websocket-"):
        raise UsageProblem(f"the header {name} belongs to the connection and cannot be set")
    value = line[min(ends) + 1 :].strip()
    if not all(" " <= character <= "~" or character == "\t" for character in value):
        raise UsageProblem(f"the value of the header {name} holds characters that a header cannot carry")
    return name, Secret(value)


# A folder for the user alone.


def user_folder(kind: Literal["config", "state"], *parts: str) -> Path | None:
    """Our folder among the user's own, or None for a user without a home. It need not exist."""
    import platformdirs  # 3 ms that most commands do not need

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    try:
        path = find(APP_NAME, appauthor=False)
    except RuntimeError:
        return None
    return path.joinpath(*parts) if path.is_absolute() else None


def checked_name(name: str, noun: str) -> str:
    """The name, if it can be a file's on every system. Raises UsageProblem."""
    if not _NAME.fullmatch(name):
        raise UsageProblem(
            f"{name[:100]!r} cannot be the name of a {noun}",
            hint="use letters, digits and . _ + - (not first)",
        )
    return name


class PrivateFolder:
    """Text files under checked names. Reading takes no lock: a file is always whole."""

    def __init__(self, locate: Callable[[], Path | None]) -> None:
        self.locate = locate

    @property
    def path(self) -> Path:
        """Where it is. Raises LocalProblem for a user without a home."""
        path = self.locate()
        if path is None:
            raise LocalProblem("there is no home folder to keep this in", hint="set HOME")
        return path

    def read(self, file: str) -> str | None:
        """The text of `file`, or None where there is none. Raises LocalProblem for one that is not ours."""
        folder = self.locate()
        if folder is None:
            return None
        path = folder / file
        try:
            with open(path, "rb", opener=_without_waiting) as stream:
                data = stream.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            _nothing_there(path, error)
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or len(data) > FILE_BYTES_MAX or "\0" in text:
            raise self.foreign(file)
        return text

    def names(self, suffix: str) -> list[str]:
        """The names, without the suffix and sorted, of the files that have it. Raises LocalProblem."""
        folder = self.locate()
        try:
            files = os.listdir(folder) if folder is not None else []
        except OSError as error:
            _nothing_there(folder, error)
            return []
        stems = (file.removesuffix(suffix) for file in files if file.endswith(suffix))
        return sorted(stem for stem in stems if _NAME.fullmatch(stem))

    def foreign(self, file: str, reason: str = "") -> LocalProblem:
        """The error for a file that we did not write. `reason` does not repeat what may be a secret."""
        why = f": {reason}" if reason else ""
        return LocalProblem(
            f"{str(self.path / file)!r} is damaged or not ours{why}", hint="mend or remove it"
        )

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

    def remove(self, file: str) -> None:
        """Remove `file`, if it is there. Only while `changing`."""
        path = self.path / file
        with _explained(path):
            path.unlink(missing_ok=True)


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting for the other end of what may be a FIFO."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _nothing_there(path: Path | None, error: OSError) -> None:
    """Return if nothing is there, as far as we may look: not in somebody else's home (sudo, containers)."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return
    if isinstance(error, PermissionError):
        try:
            os.stat(str(path))
        except OSError:
            return
    raise cannot_read(repr(str(path)), error) from None


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
    """Take the lock; closing its descriptor gives it back."""
    if sys.platform == "win32":
        return
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LocalProblem(f"another process keeps {str(folder)!r} locked") from None
            time.sleep(0.01)
        except OSError:
            return  # a file system without locks; a rename still leaves every file whole
        else:
            return


# What is kept in such a folder under names.

T = TypeVar("T", bound=Struct)


class FolderState(Struct):
    """What `doctor` says of a folder. `path` None: a user without a home."""

    path: str | None = None
    names: list[str] = []
    problems: list[Failure] = []  # as our commands would meet them
    exposed: list[str] = []  # paths that other users may read or change


class Store(Generic[T]):
    """Values under names, a file each. Concurrent changes lose nothing; files of others stay."""

    noun: ClassVar[str]
    suffix: ClassVar[str]
    place: ClassVar[tuple[Literal["config", "state"], str]]

    def __init__(self, folder: PrivateFolder | None = None) -> None:
        self.folder = folder or PrivateFolder(lambda: user_folder(*self.place))

    def names(self) -> list[str]:
        """All names, sorted. Raises LocalProblem."""
        return self.folder.names(self.suffix)

    def load(self, name: str) -> T:
        """The value of that name.

        Raises UsageProblem or UnknownTarget where there is none, LocalProblem for a file that is not ours.
        """
        value = self.find(checked_name(name, self.noun))
        if value is None:
            raise self.unknown(name)
        return value

    def find(self, name: str) -> T | None:
        """The same; None: there is none."""
        text = self.folder.read(name + self.suffix)
        return None if text is None else self.parse(name, text)

    def ls(self) -> tuple[list[T], list[LocalProblem]]:
        """Every value by name, and what is wrong with the files that are none. Raises LocalProblem."""
        found, problems = [], []
        for name in self.names():
            try:
                value = self.find(name)
            except LocalProblem as problem:
                problems.append(problem)
            else:
                found += [value] if value is not None else []
        return found, problems

    def remove(self, names: Iterable[str]) -> None:
        """Forget these, all or none. Raises as `load` does."""
        wanted = list(names)
        for name in wanted:
            self.load(name)
        with self.folder.changing():
            for name in wanted:
                self.forget(name)

    def look(self) -> FolderState:
        """The folder, each file read as a command would. Changes nothing, raises nothing."""
        folder = self.folder.locate()
        if folder is None:
            return FolderState()
        state = FolderState(path=str(folder), exposed=sorted(_exposed(folder)))
        try:
            state.names = self.names()
            state.problems += self.ls()[1]
        except LocalProblem as problem:
            state.problems.append(problem)
        return state

    def parse(self, name: str, text: str) -> T:
        """The value in a file. Raises LocalProblem."""
        raise NotImplementedError

    def unknown(self, name: str) -> Failure:
        """The error for a name that is not there."""
        raise NotImplementedError

    def forget(self, name: str) -> None:
        """Remove what is kept of a name. Only while `folder.changing`."""
        self.folder.remove(name + self.suffix)


def _exposed(folder: Path) -> Iterator[str]:
    """The folder, where others may look into it, and the files in it that they may read."""
    others = 0o077
    with suppress(OSError):
        if not stat.S_IMODE(folder.stat().st_mode) & others:
            return  # whatever the files allow, nobody gets there
        yield str(folder)
        for entry in os.scandir(folder):
            with suppress(OSError):
                if entry.is_file() and stat.S_IMODE(entry.stat().st_mode) & others:
                    yield entry.path


# Contexts.

IN_USE = "in-use"  # the file that holds the chosen name
CONTEXT_KEYS = ("url", "namespace", "token", "cacert", "cert", "key", "server_name")


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
        """What the file holds, by CONTEXT_KEYS: no secret but the URL's query."""
        tls = (self.tls.ca_file, self.tls.certificate, self.tls.key, self.tls.server_name)
        values = (self.address.full_url, self.namespace, self.token_source, *tls)
        return {key: value for key, value in zip(CONTEXT_KEYS, values, strict=True) if value is not None}


class ContextStore(Store[Context]):
    """The contexts of this user, TOML files; and which of them is in use."""

    noun, suffix, place = "context", ".toml", ("config", "contexts")

    def in_use(self) -> str | None:
        """The name that `use` chose. One attempt to open a file where nothing was chosen."""
        text = self.folder.read(IN_USE)
        if text is None:
            return None
        try:
            return checked_name(text.strip(), "context")
        except UsageProblem:
            raise self.folder.foreign(IN_USE, "no name in it") from None

    def for_url(self, address: EngineAddress) -> Context | None:
        """The context of exactly this engine, the one in use first. Skips files that are not ours."""
        found = [context for context in self.ls()[0] if context.address == address]
        if len(found) > 1:
            chosen = self.in_use()
            found.sort(key=lambda context: context.name != chosen)
        return found[0] if found else None

    def save(self, context: Context, *, token: Secret | None = None, force: bool = False) -> None:
        """Keep the context; a `token` goes to a 0600 file beside it, which the context names then.

        Raises UsageProblem if the name is taken and not `force`, LocalProblem if its file is not ours.
        """
        name = checked_name(context.name, "context")
        with self.folder.changing():
            if self.find(name) is not None and not force:
                raise UsageProblem(f"there is a context {name!r} already", hint="--force replaces it")
            if token is None:
                self.folder.remove(f"{name}.token")
            else:
                self.folder.write(f"{name}.token", token.reveal() + "\n")
                context = replace(context, token_source=f"file:{self.folder.path / f'{name}.token'}")
            lines = ["# A context of iii; see `iii context`. A token never stands here, only where it is."]
            lines += [f"{key} = {_toml(value)}" for key, value in context.fields().items()]
            self.folder.write(name + self.suffix, "\n".join(lines) + "\n")

    def use(self, name: str | None) -> None:
        """Make `name` the context in use; None: none is. Raises UsageProblem and LocalProblem."""
        if name is not None:
            self.load(name)
        with self.folder.changing():
            if name is None:
                self.folder.remove(IN_USE)
            else:
                self.folder.write(IN_USE, name + "\n")

    def look(self) -> FolderState:
        """And whether the one in use is there."""
        state = super().look()
        try:
            chosen = self.in_use()
            if chosen is not None and chosen not in state.names:
                said = f"the context in use, {chosen!r}, is not there"
                state.problems.append(LocalProblem(said, hint="`iii context use --none`"))
        except Failure as failure:
            state.problems.append(failure)
        return state

    def parse(self, name: str, text: str) -> Context:
        import tomllib  # 2 ms that a command without a context does not need

        file = name + self.suffix
        try:
            fields = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError):
            raise self.folder.foreign(file, "not TOML") from None
        for key, value in fields.items():
            if key not in CONTEXT_KEYS:
                raise self.folder.foreign(file, f"{key[:40]!r} is not a setting of a context")
            if not isinstance(value, str):
                raise self.folder.foreign(file, f"{key!r} is not a text in quotes")
        if "url" not in fields:
            raise self.folder.foreign(file, "it has no url")
        tls = TlsFiles(fields.get("cacert"), fields.get("cert"), fields.get("key"), fields.get("server_name"))
        try:
            source = checked_token_source(fields["token"]) if "token" in fields else None
            return Context(name, EngineAddress.parse(fields["url"]), fields.get("namespace"), source, tls)
        except (UsageProblem, MalformedAddress) as error:
            raise self.folder.foreign(file, str(error)) from None

    def unknown(self, name: str) -> Failure:
        hint = did_you_mean(nearest(name, self.names()), "`iii context ls` lists them")
        return UsageProblem(f"no context {name!r}", hint=hint)

    def forget(self, name: str) -> None:
        super().forget(name)
        self.folder.remove(f"{name}.token")
        if (self.folder.read(IN_USE) or "").strip() == name:
            self.folder.remove(IN_USE)


def checked_token_source(text: str) -> str:
    """`env:NAME` or `file:PATH`. Raises UsageProblem, which does not repeat the text: it may be a token."""
    kind, _, place = text.partition(":")
    if kind not in ("env", "file") or not place or any(character < " " for character in place):
        raise UsageProblem("a token source is env:NAME or file:PATH, never the token itself")
    return text


def _toml(value: str) -> str:
    """A TOML basic string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'


# Saved refs.

RefState = Literal["unused", "used", "expired"]
Text = Annotated[str, Meta(min_length=1)]
Time = Annotated[float, Meta(ge=0, lt=1e11)]  # Unix seconds, up to the year 5138


class SavedRef(Struct, frozen=True):
    """A channel, the ends of it that we were given, and when each was opened."""

    name: str
    channel_id: Text
    access_key: Secret
    engine_url: str  # in full: its query may hold a token
    created_at: Time
    ends: Annotated[tuple[Direction, ...], Meta(min_length=1)] = (Direction.WRITE, Direction.READ)
    buffer: int | None = None
    used: dict[Direction, Time] = {}
    tls: TlsFiles = TlsFiles()  # absolute paths: it may be used in another folder

    def __repr__(self) -> str:
        return f"SavedRef({self.name!r})"

    def ref(self, direction: Direction) -> ChannelRef:
        """The channel's end in `direction`."""
        return ChannelRef(self.channel_id, self.access_key, direction)

    def age(self, now: float) -> float:
        """Seconds since its creation; 0 where the clock was set back."""
        return max(0.0, now - self.created_at)

    def state(self, now: float, direction: Direction | None = None) -> RefState:
        """Of one end, or of the whole: `used` from the first use of an end.

        What was not taken while the engine kept it is `expired`.
        """
        if direction in self.used or (direction is None and self.used):
            return "used"
        return "unused" if self.age(now) < EXPIRY else "expired"


class SavedRefs(Store[SavedRef]):
    """The saved refs of this user, JSON files."""

    noun, suffix, place = "saved ref", ".json", ("state", "refs")

    def __init__(self, folder: PrivateFolder | None = None, clock: Callable[[], float] = time.time) -> None:
        super().__init__(folder)
        self.now = clock

    def check_free(self, name: str, *, force: bool = False) -> None:
        """Could `save` take this name? Ask before a channel is made for it.

        Raises UsageProblem for a name that is no name or is in use, LocalProblem for a file that is not ours.
        """
        known = self.find(checked_name(name, self.noun))
        if known is not None and not force and known.state(self.now()) == "unused":
            raise UsageProblem(f"there is an unused saved ref {name!r} already", hint="--force replaces it")

    def save(self, saved: SavedRef, *, force: bool = False) -> None:
        """Keep it under its name, in the place of a used or expired one; with `force` of any.

        Raises UsageProblem and LocalProblem.
        """
        with self.folder.changing():
            self.check_free(saved.name, force=force)
            self._write(saved)
            for known in super().ls()[0]:
                if known.age(self.now()) >= KEPT:
                    self.forget(known.name)

    def mark_used(self, name: str, ref: ChannelRef) -> None:
        """Note that the end `ref` was opened, unless the name means another channel by now.

        A note that cannot be written is let go: the engine itself refuses a second use.
        """
        with suppress(LocalProblem), self.folder.changing():
            saved = self.find(name)
            if saved is not None and saved.ref(ref.direction) == ref:
                self._write(replace(saved, used={ref.direction: self.now()} | saved.used))

    def ls(self) -> tuple[list[SavedRef], list[LocalProblem]]:
        """As every store, but without day-old ones, which the next `save` forgets."""
        found, problems = super().ls()
        return [saved for saved in found if saved.age(self.now()) < KEPT], problems

    def parse(self, name: str, text: str) -> SavedRef:
        try:
            body = parse(text)
            saved = msgspec.convert(
                {**body, "name": name}, SavedRef, dec_hook=lambda kind, value: kind(value)
            )
            EngineAddress.parse(saved.engine_url)
        except (ValueError, TypeError):  # never its own text, which may hold a key
            saved = None
        if saved is None or body.get("saved_ref") != 1 or not saved.access_key:
            raise self.folder.foreign(name + self.suffix, "not a saved ref")
        return saved

    def unknown(self, name: str) -> Failure:
        match = nearest(name, self.names())
        hint = f"did you mean @{match}?" if match else "`iii ref ls` lists them"
        return UnknownTarget(f"no saved ref {name!r}", hint=hint, where="local")

    def _write(self, saved: SavedRef) -> None:
        body: dict[str, Any] = msgspec.to_builtins(saved, enc_hook=Secret.reveal)
        del body["name"]
        self.folder.write(saved.name + self.suffix, render({"saved_ref": 1, **body}) + "\n")


def absolute(tls: TlsFiles) -> TlsFiles:
    """The same files, wherever they are named from."""
    ca_file, certificate, key = (p and os.path.abspath(p) for p in (tls.ca_file, tls.certificate, tls.key))
    return TlsFiles(ca_file, certificate, key, tls.server_name)
