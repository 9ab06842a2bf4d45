"""The rules of `iii doctor`: from what was found out to findings, each with what to do where it is not fine.

Values in, values out. Every finding that is not `ok` has its advice.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from typing import TYPE_CHECKING

import iii_cli
from iii_cli.config.settings import format_bytes, format_duration
from iii_cli.errors import Failure, NotAuthorised
from iii_cli.io.console import Finding
from iii_cli.io.descriptors import PIPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iii_cli.commands.doctor.checkup import Facts
    from iii_cli.config.settings import Settings
    from iii_cli.config.store import FolderState

__all__ = ("findings",)

SLOW_SECONDS = 0.25  # a round trip of this length is felt in every command
SKEW_SECONDS = 2.0  # traces and the expiry of saved refs are told wrongly from here on
RENEW_SECONDS = 14 * 86_400.0
FEW_FILES = 256  # a transfer needs about twenty descriptors, `--each` and `serve` more
NEARLY_FULL = 0.9


def findings(facts: Facts) -> list[Finding]:
    """All of them, the engine first."""
    found: list[Finding] = []
    if facts.settings_failure is not None:
        found.append(_problem("settings", facts.settings_failure))
    if facts.settings is not None:
        for part in (_engine, _latency, _clock, _channels, _namespace, _auth, _tls, _notices):
            found += part(facts, facts.settings)
    for whole in (_this, _programs, _open_files, _pipes, _files, _completion, _late):
        found += whole(facts)
    return found


def _problem(check: str, failure: Failure) -> Finding:
    return Finding(check, "problem", failure.message, failure.hint or "see `iii doctor --help`")


def _engine(facts: Facts, settings: Settings) -> Iterator[Finding]:
    engine, where = facts.engine, f"{settings.endpoint.address} ({settings.url_source})"
    if isinstance(engine.failure, NotAuthorised):
        yield Finding(
            "engine", "note", f"there is one at {where}, which wants to know who we are", "see auth"
        )
    elif engine.failure is not None:
        yield _problem("engine", engine.failure)._replace(
            found=f"{engine.failure.message}; the URL comes from {settings.url_source}"
        )
    elif engine.version is None:
        why = engine.health_failure or "its answer holds none"
        yield Finding(
            "engine", "note", f"at {where}, version unknown: {why}", "nothing, if it is a guarded one"
        )
    elif engine.embedded:
        yield Finding("engine", "ok", f"embedded, version {engine.version}, at {where}")
        if engine.version != iii_cli.__version__:
            yield Finding("engine", "note", f"this program is {iii_cli.__version__}", "restart the engine")
    else:
        yield Finding("engine", "ok", f"version {engine.version} at {where}")
    if engine.failure is None and engine.status not in (None, "healthy"):
        yield Finding("health", "warning", f"the engine says that it is {engine.status}", "look at its log")


def _latency(facts: Facts, settings: Settings) -> Iterator[Finding]:
    engine = facts.engine
    if engine.latency is not None:
        text = f"{_short(engine.latency)}, the middle one of {len(engine.round_trips)} round trips"
        if engine.connect_time is not None:
            text += f"; {_short(engine.connect_time)} to connect"
        if engine.latency < SLOW_SECONDS:
            yield Finding("latency", "ok", text)
        else:
            yield Finding("latency", "note", text, "make fewer, longer calls: `iii trigger --each`, channels")
    elif engine.failure is None:
        yield Finding(
            "latency", "warning", "the engine does not answer pings", "is what answers there an iii engine?"
        )


def _clock(facts: Facts, settings: Settings) -> Iterator[Finding]:
    ahead = facts.engine.clock_ahead
    if ahead is None:
        return
    if abs(ahead) <= SKEW_SECONDS:
        yield Finding("clock", "ok", f"the engine's and ours differ by {_short(abs(ahead))}")
    else:
        way = "ahead of" if ahead > 0 else "behind"
        text = f"the engine's clock is {format_duration(abs(ahead))} {way} ours"
        yield Finding("clock", "warning", text, "set the clocks by NTP: times in traces and logs are wrong")


def _channels(facts: Facts, settings: Settings) -> Iterator[Finding]:
    limits = facts.engine.limits
    is_open, most = limits.get("open_channels"), limits.get("max_channels")
    if is_open is None or most is None:
        return
    text = f"{is_open} of {most} open"
    if "max_buffer_bytes" in limits:
        text += f", each holding back {format_bytes(limits['max_buffer_bytes'])} at most"
    if is_open < NEARLY_FULL * most:
        yield Finding("channels", "ok", text)
    else:
        yield Finding("channels", "warning", text, "end transfers, or `iii engine run --max-channels N`")


def _namespace(facts: Facts, settings: Settings) -> Iterator[Finding]:
    if settings.namespace is None:
        yield Finding("namespace", "ok", "default (nothing names another)")
    else:
        yield Finding("namespace", "ok", f"{settings.namespace} ({settings.namespace_source})")


def _auth(facts: Facts, settings: Settings) -> Iterator[Finding]:
    engine = facts.engine
    shown = f"the token of {settings.token_source}" if settings.token_source else "no token"
    if settings.endpoint.headers:
        shown += f", headers {', '.join(name for name, _ in settings.endpoint.headers)}"
    if isinstance(engine.failure, NotAuthorised):
        advice = "set III_TOKEN, --token-file, or a context's token"
        if settings.token_source:
            advice = f"is the token of {settings.token_source} the one for this engine?"
        yield Finding("auth", "problem", f"{engine.failure.message}; we showed {shown}", advice)
    elif engine.failure is not None:
        yield Finding("auth", "ok", f"{shown}; not tried")
    else:
        yield Finding("auth", "ok", f"{shown}; the engine let us in")


def _tls(facts: Facts, settings: Settings) -> Iterator[Finding]:
    endpoint, session = settings.endpoint, facts.engine.tls
    if not endpoint.address.secure:
        if endpoint.address.is_loopback:
            yield Finding("tls", "ok", "none, on this machine alone")
        else:
            text = "none: what is sent can be read on its way"
            yield Finding("tls", "note", text, "put a gateway with TLS before the engine, and use wss://")
        return
    if session is None:
        if facts.engine.failure is None:
            yield Finding("tls", "note", "nothing is known of the session", "look at the gateway")
        return
    trust = endpoint.tls.ca_file or "the system's authorities"
    text = (
        f"{session.protocol}, {session.cipher}; the certificate of {session.subject!r} by {session.issuer!r}"
    )
    left = None if session.expires_at is None else session.expires_at - time.time()
    until = "" if left is None else f", good for {left / 86_400:.0f} days"
    level, advice = ("ok", None) if left is None or left > RENEW_SECONDS else ("warning", "renew it")
    yield Finding("tls", level, f"{text}, trusted by {trust}{until}", advice)


def _notices(facts: Facts, settings: Settings) -> Iterator[Finding]:
    for notice in settings.notices:
        text, _, advice = notice.partition("; ")
        yield Finding("settings", "warning", text, advice or "look at it")


def _this(facts: Facts) -> Iterator[Finding]:
    where = os.path.dirname(iii_cli.__file__)
    python = f"Python {platform.python_version()}"
    yield Finding("program", "ok", f"iii-cli {iii_cli.__version__}, {python}, in {where}")


def _programs(facts: Facts) -> Iterator[Finding]:
    programs, second = facts.programs, facts.second_name
    ours = [program.path for program in programs if program.ours]
    others = [program.path for program in programs if not program.ours]
    if not ours and second is None:
        folder = os.path.dirname(os.path.abspath(sys.argv[0]))
        yield Finding("path", "warning", "this program is not on PATH", f"add {folder} to PATH")
    if others and programs[0].path == others[0]:
        text = f"`iii` is {others[0]}, another program: the engine's own, perhaps"
        yield Finding("path", "note", text, "say iii-cli for this one, in scripts anyway")
    elif others:
        text = f"`iii` is {ours[0]}; cloud, compose, console, project, update and worker go to {others[0]}"
        yield Finding("path", "ok", text)
    elif ours:
        yield Finding("path", "ok", f"`iii` is {ours[0]}; the engine's own is not on PATH")
    if len(ours) > 1:
        text = f"this program is installed more than once: {', '.join(ours)}; the first one wins"
        yield Finding("path", "note", text, "remove those that you do not want")


def _open_files(facts: Facts) -> Iterator[Finding]:
    limits = facts.limits
    if limits.open_files is not None:
        most = "no limit" if limits.open_files_max is None else str(limits.open_files_max)
        text = f"{limits.open_files} at once (`ulimit -n`), can be raised to {most}"
        if limits.open_files < FEW_FILES:
            yield Finding("open files", "warning", text, "ulimit -n 1024")
        else:
            yield Finding("open files", "ok", text)
    if limits.file_bytes is not None:
        text = f"no file may be longer than {format_bytes(limits.file_bytes)} (`ulimit -f`)"
        yield Finding("file size", "warning", text, "ulimit -f unlimited, or -o FILE fails with 10 there")


def _pipes(facts: Facts) -> Iterator[Finding]:
    size = facts.limits.pipe_bytes
    if size is None:
        return
    text = f"can be grown to {format_bytes(size)} (fs.pipe-max-size)"
    if size < PIPE_BYTES:
        yield Finding("pipes", "note", f"{text}; they are slower", f"sysctl fs.pipe-max-size={PIPE_BYTES}")
    else:
        yield Finding("pipes", "ok", text)


def _files(facts: Facts) -> Iterator[Finding]:
    yield from _folder("contexts", facts.contexts)
    yield from _folder("saved refs", facts.refs)


def _folder(check: str, state: FolderState) -> Iterator[Finding]:
    for failure in state.problems:
        yield _problem(check, failure)
    if state.exposed:
        text = f"other users may look into {', '.join(state.exposed[:5])}"
        yield Finding(check, "warning", text, "chmod 700 the folder, 600 the files")
    if state.path is None:
        yield Finding(
            check, "note", "no home folder to keep them in", "set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME"
        )
    elif not state.writable:
        yield Finding(check, "note", f"{state.path} cannot be written", "nothing, if none are to be saved")
    elif not state.problems and not state.exposed:
        yield Finding(check, "ok", f"{len(state.names)} in {state.path}")


def _completion(facts: Facts) -> Iterator[Finding]:
    shell, path = facts.completion.shell, facts.completion.path
    if shell is None:
        return
    if path is not None:
        yield Finding("completion", "ok", f"{shell} has it from {path}")
    else:
        how = {
            "bash": "add to ~/.bashrc: source <(iii-cli completion bash)",
            "zsh": "iii-cli completion zsh > a folder of $fpath, as _iii",
            "fish": "iii-cli completion fish > ~/.config/fish/completions/iii.fish",
        }[shell]
        yield Finding("completion", "note", f"not found where {shell} looks by itself", how)


def _late(facts: Facts) -> Iterator[Finding]:
    for name in facts.late:
        yield Finding(name, "problem", "looking at it took too long", "does a file system hang?")


def _short(span: float) -> str:
    return f"{span * 1000:.2f} ms" if span < 0.01 else format_duration(span)
