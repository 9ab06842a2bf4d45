"""`iii doctor`: look at the engine, the settings and this machine, and say what to do.

Theory of operation. Each look fills a `_Part`, facts that `--json` prints and findings, in a thread of its
own: neither a resolver nor a file system that hangs can be told to stop, and what is late is left behind.
What an engine answers is judged afterwards, be it there or not.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, final

import typer
from msgspec.structs import replace

import iii_cli
from iii_cli.client.call import BlockingConnection, new_uuid
from iii_cli.commands.common import AsJson, flags_of
from iii_cli.commands.completion import installed_completion
from iii_cli.commands.handover import WORDS, is_ours, programs_on_path
from iii_cli.config.settings import GlobalFlags, Settings, resolve
from iii_cli.config.store import ContextStore, SavedRefs
from iii_cli.errors import (
    EngineUnreachable,
    ExitStatus,
    Failure,
    FunctionFailed,
    LocalProblem,
    NotAuthorised,
    PeerMisbehaved,
    gravest,
)
from iii_cli.io.console import Finding, mask_refs, print_checklist, print_json
from iii_cli.io.descriptors import PIPE_BYTES, system_limits
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.messages import InvokeFunction
from iii_cli.protocol.refs import Endpoint, secrets_in
from iii_cli.protocol.seal import is_count, printable
from iii_cli.quantities import format_bytes, format_duration

__all__ = ("doctor_app",)

doctor_app = typer.Typer()

PATIENCE = 4.5  # seconds for all looks together
CONNECT_SECONDS = 2.5
STEP_SECONDS = 1.0  # for the round trips, and for the answer about the engine's health
ROUND_TRIPS = 9  # odd, for a median that one slow round trip does not move
WORD_MAX = 100  # characters of what an engine says of itself
FACTS = (  # of the document: more may come, none gets another name; null is what is not known
    *("exit", "findings", "engine", "auth", "tls", "namespace", "program", "path", "limits"),
    *("contexts", "saved_refs", "completion"),
)
LIMITS = ("open_channels", "max_channels", "buffered_bytes", "max_buffer_bytes", "max_connections")
SECRET_CHARACTERS = 4  # shorter texts are part of many words, and no secrets
SLOW_MS = 250  # every command feels a round trip of this length
SKEW_MS = 2000  # from here on traces and the expiry of saved refs show wrong times
RENEW_SECONDS = 14 * 86_400.0
FEW_FILES = 256  # a transfer needs about twenty descriptors, `--each` and `serve` more
NEARLY_FULL = 0.9


@doctor_app.command(name="doctor")
def doctor_command(
    ctx: typer.Context,
    json: AsJson = False,
) -> None:
    """Look at the engine, the settings and this machine, and say what to do about what is not fine.

    Which engine and where its URL comes from, its version, latency and clock, the namespace, where the token
    is kept, TLS, which `iii` comes first on PATH, limits, saved files, shell completion. Changes nothing.
    Takes five seconds at most, whatever --connect-timeout and --wait-engine say.

    Piped, it is a line for each finding: level, check, what was found, and what to do, between tabs. The exit
    status is that of the gravest problem: 3 without an engine, 4 where it does not let us in, 10 for a
    damaged file; notes and warnings are 0.

    \b
    Examples:
      iii doctor
      iii doctor --json | jq -r '.findings[] | select(.level != "ok").advice'
    """
    engine = _Engine()
    parts = _side_by_side(
        {
            "engine": lambda part: _ask(engine, flags_of(ctx)),
            "program": _look_at_program,
            "programs": _look_at_path,
            "limits": _look_at_limits,
            "contexts": lambda part: _look_at_folder(part, "contexts", ContextStore()),
            "saved refs": lambda part: _look_at_folder(part, "saved refs", SavedRefs()),
            "completion": _look_at_completion,
        }
    )
    report = _Part()
    report.facts = dict.fromkeys(FACTS)
    settings = engine.settings
    if parts.pop("engine") is None:
        engine = _late(settings)  # another one: the thread that was left behind may go on
    if settings is None:
        report.fail("settings", engine.failure or LocalProblem("no settings"))
    else:
        _judge_engine(report, engine, settings)
        _judge_access(report, engine, settings)
        _judge_tls(report, engine, settings.endpoint)
        for notice in settings.notices:
            text, _, advice = notice.partition("; ")
            report.add("settings", text, "warning", advice or "look at it")
    for part in filter(None, parts.values()):
        report.facts |= part.facts
        report.findings += part.findings
        report.failures += part.failures
    for name in [name for name, part in parts.items() if part is None]:
        report.fail(name, LocalProblem("looking at it took too long", hint="does a file system hang?"))
    failure = gravest(report.failures) if report.failures else None
    report.facts["exit"] = int(failure.exit_status if failure else ExitStatus.DONE)
    report.facts["findings"] = [finding._asdict() for finding in report.findings]

    hide = _hiding(settings)
    if json:
        print_json(hide(report.facts))
    else:
        print_checklist([Finding(*hide(list(finding))) for finding in report.findings])
    if failure is not None:
        raise failure.with_message(hide(failure.message))


@final
class _Part:
    """What was found: facts for programs, findings for people, the failures for the exit status."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self.failures: list[Failure] = []

    def add(self, check: str, found: str, level: str = "ok", advice: str | None = None) -> None:
        """A finding. One that is not ok needs an advice."""
        self.findings.append(Finding(check, level, found, None if level == "ok" else advice))

    def fail(self, check: str, failure: Failure, found: str | None = None) -> None:
        """A problem, which counts for the exit status."""
        self.failures.append(failure)
        self.add(check, found or failure.message, "problem", failure.hint or "see `iii doctor --help`")


def _side_by_side(looks: dict[str, Callable[[_Part], None]]) -> dict[str, _Part | None]:
    """Each look in a thread, and what it found; None for one that did not end in time: it is left behind."""
    bugs: list[Exception] = []

    def guarded(look: Callable[[_Part], None], part: _Part) -> None:
        try:
            look(part)
        except Exception as bug:
            bugs.append(bug)

    deadline = time.monotonic() + PATIENCE
    started = {}
    for name, look in looks.items():
        part = _Part()
        thread = threading.Thread(target=guarded, args=(look, part), daemon=True)
        thread.start()
        started[name] = thread, part
    for thread, _ in started.values():
        thread.join(max(deadline - time.monotonic(), 0))
    if bugs:
        raise bugs[0]
    return {name: None if thread.is_alive() else part for name, (thread, part) in started.items()}


# The engine.


@final
class _Engine:
    """What the settings are, and what an engine answered."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.failure: Failure | None = None  # of the settings, where there are none
        self.silence: str | None = None  # why it does not say how it is
        self.tls: dict[str, Any] | None = None
        keys = ("embedded", "version", "status", "connect_ms", "latency_ms", "clock_ahead_ms")
        self.facts: dict[str, Any] = dict.fromkeys(keys) | {"round_trips": 0, "limits": {}}


def _late(settings: Settings | None) -> _Engine:
    engine = _Engine()
    if settings is None:
        hint = "does a token file, or a file system, hang?"
        engine.failure = LocalProblem("reading the settings took too long", hint=hint)
    else:
        text = f"no answer from {settings.endpoint.address} within {PATIENCE:g} s"
        engine.failure = EngineUnreachable(text, hint="does its name resolve?")
    return engine


def _ask(engine: _Engine, flags: GlobalFlags) -> None:
    """Settle the settings and look at the engine for a moment: five seconds at most, where names resolve."""
    try:
        settings = engine.settings = resolve(flags, os.environ, ContextStore())
    except Failure as failure:
        engine.failure = failure
        return
    endpoint, url = settings.endpoint, settings.endpoint.address.url
    patience = min(endpoint.connect_timeout or CONNECT_SECONDS, CONNECT_SECONDS)
    began = time.monotonic()
    try:
        with BlockingConnection(replace(endpoint, connect_timeout=patience, wait_engine=None)) as connection:
            engine.facts["connect_ms"] = _milliseconds(time.monotonic() - began)
            session = connection.tls_session()
            if session is not None:
                engine.tls = session | {"ca_file": endpoint.tls.ca_file}
            _measure(connection, engine.facts)
            _ask_health(connection, engine)
    except ConnectionLost as lost:
        text = f"the engine at {url} was lost during the examination ({lost.reason})"
        engine.failure = EngineUnreachable(text)
    except PeerMisbehaved as fault:
        text = f"what answers at {url} is no engine: {fault.message}"
        engine.failure = EngineUnreachable(text, hint="is the URL right?")
    except Failure as failure:
        engine.failure = failure


def _measure(connection: BlockingConnection, facts: dict[str, Any]) -> None:
    times: list[float] = []
    deadline = time.monotonic() + STEP_SECONDS
    with suppress(TimeoutError):
        for _ in range(ROUND_TRIPS):
            sent = time.monotonic()
            connection.ping(deadline)
            times.append(time.monotonic() - sent)
    facts["round_trips"] = len(times)
    if times:
        facts["latency_ms"] = _milliseconds(sorted(times)[len(times) // 2])


def _ask_health(connection: BlockingConnection, engine: _Engine) -> None:
    """Ask `engine::health::check` (docs: protocol, "Built-in functions"), and take what its answer holds."""
    request = InvokeFunction.of("engine::health::check", {}, invocation_id=new_uuid(), namespace="default")
    sent, started = time.time(), time.monotonic()
    try:
        answer = connection.exchange(request, started + STEP_SECONDS)
    except TimeoutError:
        engine.silence = f"no answer within {STEP_SECONDS:g} s"
        return
    except (FunctionFailed, PeerMisbehaved) as failure:
        engine.silence = printable(failure.message, WORD_MAX)
        return
    middle = sent + (time.monotonic() - started) / 2
    told = answer if isinstance(answer, dict) else {}
    for name in ("version", "status"):
        value = told.get(name)
        engine.facts[name] = printable(value, WORD_MAX) or None if isinstance(value, str) else None
    stamp = told.get("timestamp")
    if is_count(stamp) and 0 < stamp < 1e14:
        engine.facts["clock_ahead_ms"] = round(stamp - middle * 1000)
    components = told.get("components")
    if isinstance(components, dict):
        embedded = components.get("embedded")
        engine.facts["embedded"] = embedded is not None
        details = embedded.get("details") if isinstance(embedded, dict) else None
        if isinstance(details, dict):
            engine.facts["limits"] = {name: details[name] for name in LIMITS if is_count(details.get(name))}


def _milliseconds(span: float) -> float:
    return round(span * 1000, 3)


def _judge_engine(report: _Part, engine: _Engine, settings: Settings) -> None:
    facts, failure, address = engine.facts, engine.failure, settings.endpoint.address
    where, version = f"{address} ({settings.url_source})", facts["version"]
    if isinstance(failure, NotAuthorised):
        report.add("engine", f"there is one at {where}, which wants to know who we are", "note", "see auth")
    elif failure is not None:
        report.fail("engine", failure, f"{failure.message}; the URL comes from {settings.url_source}")
    elif version is None:
        text = f"at {where}, version unknown: {engine.silence or 'its answer holds none'}"
        report.add("engine", text, "note", "nothing, if it is a guarded one")
    else:
        report.add("engine", f"{'embedded, ' if facts['embedded'] else ''}version {version} at {where}")
        if facts["embedded"] and version != iii_cli.__version__:
            text = f"this program has version {iii_cli.__version__}"
            report.add("engine", text, "note", "restart the engine")
    if failure is None and facts["status"] not in (None, "healthy"):
        report.add("health", f"the engine says that it is {facts['status']}", "warning", "look at its log")
    latency, ahead = facts["latency_ms"], facts["clock_ahead_ms"]
    if latency is not None:
        text = f"{_short(latency)}, the median of {facts['round_trips']} round trips"
        text += f"; {_short(facts['connect_ms'])} to connect"
        advice = "make fewer, longer calls: `iii trigger --each`, channels"
        report.add("latency", text, "ok" if latency < SLOW_MS else "note", advice)
    elif failure is None:
        text = "the engine does not answer pings"
        report.add("latency", text, "warning", "is what answers there an iii engine?")
    if ahead is not None and abs(ahead) <= SKEW_MS:
        report.add("clock", f"the engine's and ours differ by {_short(abs(ahead))}")
    elif ahead is not None:
        text = f"the engine's clock is {_short(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} ours"
        report.add("clock", text, "warning", "set the clocks by NTP: times in traces and logs are wrong")
    used, most = (facts["limits"].get(name) for name in ("open_channels", "max_channels"))
    if used is not None and most is not None:
        text, held = f"{used} of {most} open", facts["limits"].get("max_buffer_bytes")
        text += "" if held is None else f", each holding back {format_bytes(held)} at most"
        level = "ok" if used < NEARLY_FULL * most else "warning"
        report.add("channels", text, level, "end transfers, or `iii engine run --max-channels N`")
    error = failure.message if failure else None
    head = {"url": address.url, "source": settings.url_source, "reached": failure is None, "error": error}
    report.facts["engine"] = head | facts


def _judge_access(report: _Part, engine: _Engine, settings: Settings) -> None:
    """The namespace, and what we show to be let in."""
    name, source, failure = settings.namespace, settings.namespace_source, engine.failure
    report.facts["namespace"] = {"name": name or "default", "source": source}
    report.add("namespace", f"{name} ({source})" if name else "default (nothing names another)")
    token, headers = settings.token_source, [header for header, _ in settings.endpoint.headers]
    shown = f"the token of {token}" if token else "no token"
    shown += f", headers {', '.join(headers)}" if headers else ""
    accepted = True if failure is None else False if isinstance(failure, NotAuthorised) else None
    report.facts["auth"] = {"token_source": token, "headers": headers, "accepted": accepted}
    if isinstance(failure, NotAuthorised):
        report.failures.append(failure)
        advice = "set III_TOKEN, --token-file, or a context's token"
        advice = f"is the token of {token} the one for this engine?" if token else advice
        report.add("auth", f"{failure.message}; we showed {shown}", "problem", advice)
    else:
        report.add("auth", f"{shown}; {'not tried' if failure else 'the engine let us in'}")


def _judge_tls(report: _Part, engine: _Engine, endpoint: Endpoint) -> None:
    tls = report.facts["tls"] = engine.tls
    if not endpoint.address.secure:
        local = endpoint.address.is_loopback
        text = "none, on this machine alone" if local else "none: what is sent can be read on its way"
        advice = "put a gateway with TLS before the engine, and use wss://"
        report.add("tls", text, "ok" if local else "note", advice)
    elif tls is not None:
        trust = tls["ca_file"] or "the system's authorities"
        text = f"{tls['protocol']}, {tls['cipher']}; the certificate of {tls['subject']!r}"
        text += f" by {tls['issuer']!r}, trusted by {trust}"
        left = math.inf if tls["expires_at"] is None else tls["expires_at"] - time.time()
        text += "" if left == math.inf else f", good for {left / 86_400:.0f} days"
        report.add("tls", text, "ok" if left > RENEW_SECONDS else "warning", "renew it")
    elif engine.failure is None:
        report.add("tls", "nothing is known of the session", "note", "look at the gateway")


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else format_duration(milliseconds / 1000)


# This machine.


def _look_at_program(part: _Part) -> None:
    part.facts["program"] = program = {
        "version": iii_cli.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "package": os.path.dirname(iii_cli.__file__),
    }
    text = f"iii-cli {program['version']}, Python {program['python']}, in {program['package']}"
    part.add("program", text)


def _look_at_path(part: _Part) -> None:
    found, second_name = {path: is_ours(path) for path in programs_on_path()}, shutil.which("iii-cli")
    programs = [{"path": path, "ours": is_one_of_ours} for path, is_one_of_ours in found.items()]
    part.facts["path"] = {"iii": programs, "iii-cli": second_name}
    ours, others = [path for path in found if found[path]], [path for path in found if not found[path]]
    if not ours and second_name is None:
        folder = os.path.dirname(os.path.abspath(sys.argv[0]))
        part.add("path", "this program is not on PATH", "warning", f"add {folder} to PATH")
    if others and next(iter(found)) == others[0]:
        text = f"`iii` is {others[0]}, another program: the engine's own, perhaps"
        part.add("path", text, "note", "say iii-cli for this one, in scripts anyway")
    elif others:
        part.add("path", f"`iii` is {ours[0]}; {', '.join(WORDS)} go to {others[0]}")
    elif ours:
        part.add("path", f"`iii` is {ours[0]}; the engine's own is not on PATH")
    if len(ours) > 1:
        text = f"this program is installed more than once: {', '.join(ours)}; the first one wins"
        part.add("path", text, "note", "remove those that you do not want")


def _look_at_limits(part: _Part) -> None:
    limits = system_limits()
    names = ("open_files", "open_files_max", "file_bytes", "pipe_bytes")
    part.facts["limits"] = facts = {name: getattr(limits, name) for name in names}
    files, most, file_bytes, pipe_bytes = facts.values()
    if files is not None:
        text = f"{files} at once (`ulimit -n`), can be raised to {'no limit' if most is None else most}"
        part.add("open files", text, "warning" if files < FEW_FILES else "ok", "ulimit -n 1024")
    if file_bytes is not None:
        text = f"no file may be longer than {format_bytes(file_bytes)} (`ulimit -f`)"
        part.add("file size", text, "warning", "ulimit -f unlimited, or -o FILE fails with 10 there")
    if pipe_bytes is not None:
        text = f"can be grown to {format_bytes(pipe_bytes)} (fs.pipe-max-size)"
        if pipe_bytes < PIPE_BYTES:
            part.add("pipes", f"{text}; they are slower", "note", f"sysctl fs.pipe-max-size={PIPE_BYTES}")
        else:
            part.add("pipes", text)


def _look_at_folder(part: _Part, check: str, store: ContextStore | SavedRefs) -> None:
    state = store.look()
    part.facts[check.replace(" ", "_")] = {
        "folder": state.path,
        "exists": state.exists,
        "writable": state.writable,
        "names": state.names,
        "problems": [failure.message for failure in state.problems],
        "exposed": state.exposed,
    }
    for failure in state.problems:
        part.fail(check, failure)
    if state.exposed:
        text = f"other users may look into {', '.join(state.exposed[:5])}"
        part.add(check, text, "warning", "chmod 700 the folder, 600 the files")
    if state.path is None:
        advice = "set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME"
        part.add(check, "no home folder to keep them in", "note", advice)
    elif not state.writable:
        part.add(check, f"{state.path} cannot be written", "note", "nothing, if none are to be saved")
    elif not state.problems and not state.exposed:
        part.add(check, f"{len(state.names)} in {state.path}")


def _look_at_completion(part: _Part) -> None:
    shell, path = installed_completion(os.environ, sys.prefix)
    part.facts["completion"] = {"shell": shell, "path": path}
    if shell is not None and path is not None:
        part.add("completion", f"{shell} has it from {path}")
    elif shell is not None:
        how = {
            "bash": "add to ~/.bashrc: source <(iii-cli completion bash)",
            "zsh": "iii-cli completion zsh > a folder of $fpath, as _iii",
            "fish": "iii-cli completion fish > ~/.config/fish/completions/iii.fish",
        }[shell]
        part.add("completion", f"not found where {shell} looks by itself", "note", how)


# Secrets.


def _hiding(settings: Settings | None) -> Callable[[Any], Any]:
    """What puts `***` in the place of refs and tokens in a text, list or object, which it copies.

    People put them where names, URLs and files belong, and an engine may say back what it was sent.
    """
    variables, urls, secrets = ["III_TOKEN"], [os.environ.get("III_URL", "")], []
    if settings is not None:
        endpoint = settings.endpoint
        variables.append(settings.token_variable or "")
        urls.append(endpoint.address.full_url)
        secrets += [value for _, value in endpoint.request_headers()]
        secrets += [endpoint.token.reveal()] if endpoint.token else []
    secrets += [os.environ.get(variable, "").strip() for variable in variables]
    secrets += [secret for url in urls for secret in secrets_in(url)]
    long_enough = {text for text in secrets if len(text) >= SECRET_CHARACTERS}
    longest_first = sorted(long_enough, key=len, reverse=True)  # one may hold another

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            for secret in longest_first:
                value = value.replace(secret, "***")
            return mask_refs(value)
        if isinstance(value, dict):
            return {key: hide(item) for key, item in value.items()}
        return [hide(item) for item in value] if isinstance(value, list) else value

    return hide
