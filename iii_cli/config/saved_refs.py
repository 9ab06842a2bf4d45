"""Saved refs: channels by name, a 0600 file each in the state folder.

A channel lives for minutes and each of its ends is taken once, so a saved ref is a note, not an address.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from iii_cli.config.folder import PrivateFolder, checked_name, user_folder
from iii_cli.config.nearest import nearest
from iii_cli.errors import LocalProblem, UnknownTarget, UsageProblem
from iii_cli.wire.address import EngineAddress, MalformedAddress, TlsFiles
from iii_cli.wire.ref import ChannelRef, Direction
from iii_cli.wire.secret import Secret
from iii_cli.wire.strict_json import parse, render
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ("BOTH_ENDS", "RefState", "SavedRef", "SavedRefs", "absolute")

RefState = Literal["unused", "used", "expired"]

BOTH_ENDS = (Direction.WRITE, Direction.READ)
SUFFIX = ".json"
VERSION = 1
TLS_FILES = ("ca_file", "certificate", "key")
EXPIRY = (
    300.0  # seconds: the engine sweeps a channel away that has an end not taken by then (protocol.md 4.5)
)
KEPT = 86_400.0  # seconds: how long a spent one stays, to be told from one that never was


class SavedRef(Value, hidden=("engine_url",)):
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
        return self._folder.names(SUFFIX)

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
            self._folder.write(saved.name + SUFFIX, _to_text(saved))
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
                self._folder.write(name + SUFFIX, _to_text(saved.replace(used=tuple(used.items()))))

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
                self._folder.remove(name + SUFFIX)

    def _known(self, name: str) -> str:
        """The name, if a file of ours has it. Raises as `load` does."""
        return self.load(name).name

    def _prune(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(LocalProblem):
                saved = self._read(name)
                if saved is not None and self._is_stale(saved):
                    self._folder.remove(name + SUFFIX)

    def _is_stale(self, saved: SavedRef) -> bool:
        return saved.age(self.now()) >= KEPT

    def _read(self, name: str) -> SavedRef | None:
        text = self._folder.read(name + SUFFIX)
        if text is None:
            return None
        try:
            return _from_json(name, parse(text))
        except ValueError:  # never its own text, which may hold a key
            path = str(self._folder.path / (name + SUFFIX))
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
    return tls.replace(**files)


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
