"""Who is measured: `iii`, and what people would use in its place. Each is a command that writes and one that
reads.

A peer that is not installed is skipped by name. Where they are looked for, below one folder:

    cargo install websocat --root FOLDER/cargo
    cargo build --release --manifest-path tests/benchmarks/rust/Cargo.toml --target-dir FOLDER/rust
    npm install --prefix FOLDER/node iii-sdk
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.refs import target_of, token_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.refs import Ref

__all__ = ("Peer", "peers_in")

PROGRAMS = Path(__file__).parent / "programs"


class Peer(NamedTuple):
    """One way to write into and to read from a channel. Both take the data on stdin and give it to stdout."""

    name: str
    version: str
    command: Callable[[str, str, Ref, bool], list[str]]  # write|read, URL, ref, text lines?
    environ: dict[str, str]


def peers_in(folder: Path, before: Path | None = None) -> tuple[list[Peer], list[str]]:
    """Those that are installed, ours first; and the names of those that are not.

    `before`: the `python` of another version of ours, to be measured beside this one.
    """
    older = [] if before is None else [_ours("iii before", before)]
    found = [_ours(), *older, _rust(folder), _python(), _node(folder), _websocat(folder)]
    return [peer for peer in found if isinstance(peer, Peer)], [
        name for name in found if isinstance(name, str)
    ]


def _ours(name: str = "iii", python: Path = Path(sys.executable)) -> Peer:
    def command(direction: str, url: str, ref: Ref, lines: bool) -> list[str]:
        words = [str(python), "-m", "iii_cli", "-q", "--url", url, "channel", direction, token_of(ref)]
        return [*words, "--lines"] if lines else words

    return Peer(name, version("iii-cli"), command, {})


def _sdk_command(*program: str) -> Callable[[str, str, Ref, bool], list[str]]:
    def command(direction: str, url: str, ref: Ref, lines: bool) -> list[str]:
        words = [*program, direction, url, ref["channel_id"], ref["access_key"]]
        return [*words, "lines"] if lines else words

    return command


def _rust(folder: Path) -> Peer | str:
    program = folder / "rust" / "release" / "iii-bench-peer"
    if not program.exists():
        return "Rust SDK"
    lock = Path(__file__).parent / "rust" / "Cargo.lock"  # made by the build, and not kept
    _, _, entry = (lock.read_text() if lock.exists() else "").partition('name = "iii-sdk"\nversion = "')
    return Peer("Rust SDK", entry.partition('"')[0] or "?", _sdk_command(str(program)), {})


def _python() -> Peer | str:
    try:
        installed = version("iii-sdk")
    except PackageNotFoundError:
        return "Python SDK"
    return Peer("Python SDK", installed, _sdk_command(sys.executable, str(PROGRAMS / "python_sdk.py")), {})


def _node(folder: Path) -> Peer | str:
    package = folder / "node" / "node_modules" / "iii-sdk" / "package.json"
    if not package.exists() or shutil.which("node") is None:
        return "Node SDK"
    return Peer(
        "Node SDK",
        json.loads(package.read_text())["version"],
        _sdk_command("node", str(PROGRAMS / "node_sdk.mjs")),
        {"NODE_SDK": str(folder / "node")},
    )


def _websocat(folder: Path) -> Peer | str:
    program = shutil.which("websocat", path=f"{folder / 'cargo' / 'bin'}:{os.environ['PATH']}")
    if program is None:
        return "websocat"

    def command(direction: str, url: str, ref: Ref, lines: bool) -> list[str]:
        end = f"{url}{target_of(ref, direction)}"
        one_way = "-u" if direction == "write" else "-U"
        kind = ["-t"] if lines else ["-b", "-B", str(1 << 20)]
        return [program, "-q", *kind, one_way, "-", end]

    told = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    return Peer("websocat", told.split()[-1], command, {})
