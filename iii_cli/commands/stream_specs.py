"""`--in KEY=SOURCE` and `--out KEY=TARGET`: what was typed, and what it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from iii_cli.errors import UsageProblem
from iii_cli.io.descriptors import is_standard
from iii_cli.protocol.payload import MalformedPath, parse_path, show, split_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iii_cli.protocol.payload import KeyPath

__all__ = ("COMMAND", "StreamSpec", "check_keys", "command_word", "key_of", "parse_spec")

COMMAND = "cmd:"
_REF_FORMS = ("@", "iii:", "env:", "file:", "{")
_PLACES = {"--in": "a FILE, - or cmd:COMMAND", "--out": "a FILE, - or cmd:COMMAND"}
_DEFAULT_KEYS = {"--in": "stdin", "--out": "stdout"}


class StreamSpec(Struct, frozen=True):
    """One stream: the KEY of the payload where its ref goes, and the FILE, `-` or `cmd:COMMAND`."""

    option: str
    key: KeyPath
    place: str

    @property
    def label(self) -> str:
        """How people know it."""
        return f"{self.option} {show(self.key)}"

    @property
    def command(self) -> str | None:
        """The COMMAND of `cmd:COMMAND`."""
        return self.place.removeprefix(COMMAND) if self.place.startswith(COMMAND) else None

    @property
    def is_standard(self) -> bool:
        """Is it our own stdin or stdout, by whatever name?"""
        return is_standard(self.place, 0 if self.option == "--in" else 1)


def parse_spec(text: str, option: str) -> StreamSpec:
    """Read `KEY=PLACE`, or PLACE alone, whose KEY is then `stdin` or `stdout`. Raises UsageProblem."""
    parts = split_key(text)
    if parts is None and text.startswith("="):
        raise UsageProblem(f"{option}: the KEY before `=` is empty", hint=f"{option} KEY={_PLACES[option]}")
    key, place = parts if parts is not None else (_DEFAULT_KEYS[option], text)
    if not place or place == COMMAND:
        raise UsageProblem(f"{option} {key}= names nothing", hint=f"give it {_PLACES[option]}")
    spec = StreamSpec(option, key_of(key, option), place)
    if place.startswith(_REF_FORMS):
        raise _is_a_ref(spec, key)
    return spec


def key_of(text: str, option: str) -> KeyPath:
    """A typed KEY. Raises UsageProblem."""
    try:
        return parse_path(text)
    except MalformedPath as error:
        raise UsageProblem(f"{option}: {error}") from None


def check_keys(keys: Iterable[tuple[str, KeyPath]]) -> None:
    """No two refs may stand at the same place, or one inside another. Raises UsageProblem."""
    seen: list[tuple[str, KeyPath]] = []
    for option, key in keys:
        for other_option, other in seen:
            shorter = min(len(key), len(other))
            if key[:shorter] == other[:shorter]:
                raise UsageProblem(
                    f"{option} {show(key)} and {other_option} {show(other)} need the same place"
                )
        seen.append((option, key))


def command_word(command: str) -> str:
    """The first word of a shell command, for people: no assignment before it, which may hold a secret."""
    words = [word for word in command.split() if "=" not in word]
    word = os.path.basename(words[0].strip("\"'();&|{}")) if words else ""
    return word or "the command"


def _is_a_ref(spec: StreamSpec, key: str) -> UsageProblem:
    """Who knows curl writes @ before the name of a file. Never repeats what may be a key."""
    noun = "SOURCE" if spec.option == "--in" else "TARGET"
    name = spec.place[1:]
    if spec.place.startswith("@") and ":" not in name and "{" not in name:
        hint = f"an existing ref goes with --ref {key}={spec.place}"
        if spec.option == "--in" and ("." in name or "/" in name or os.path.exists(name)):
            hint = f"did you mean the file? {spec.option} {key}={name}"
            hint += f"; a ref goes with --ref {key}={spec.place}"
    else:
        hint = f"an existing ref goes with --ref {key}=REF; a file of that name is ./NAME"
    return UsageProblem(f"{spec.option} {key}: a {noun} is {_PLACES[spec.option]}, not a ref", hint=hint)
