"""`iii doctor`: look at the settings, the engine and this machine, and say what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, final

import typer
from msgspec.structs import asdict, replace

import iii_cli
from iii_cli.client.call import BlockingConnection, new_uuid, read_created
from iii_cli.commands.common import AsJson, flags_of
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
from iii_cli.io.console import aligned, clean, emit, mask_refs, print_json, print_table, stdout_is_terminal
from iii_cli.net.blocking import BlockingWebSocket
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.messages import InvokeFunction
from iii_cli.protocol.refs import Endpoint, secrets_in
from iii_cli.protocol.seal import printable

__all__ = ("doctor_app",)

doctor_app = typer.Typer()

PATIENCE = 4.8  # seconds for the settings and the engine together
ENGINE_SECONDS = 4.5  # for the engine: a channel takes eight round trips, which may be long ones
CONNECT_SECONDS = 2.5
VERSION_SECONDS = 1.0
PROBE = b"iii doctor"
WORD_MAX = 100  # characters of what an engine says of itself
SECRET_CHARACTERS = 4  # shorter texts are part of many words, and no secrets


@doctor_app.command(name="doctor")
def doctor_command(ctx: typer.Context, json: AsJson = False) -> None:
    """Look at the engine, the settings and this machine, and say what to do about what is not fine.

    Which engine and where its URL comes from, its version, whether bytes go through a channel, the namespace,
    where the token is kept, which `iii` comes first on PATH, saved files and who may read them. Takes five
    seconds at most, whatever --connect-timeout and --wait-engine say.

    Piped, it is a line for each finding: level, check, what was found, and what to do, between tabs. The exit
    status is that of the gravest problem: 3 without an engine, 4 where it does not let us in, 10 for a
    damaged file; notes and warnings are 0.

    \b
    Examples:
      iii doctor
      iii doctor --json | jq -r '.findings[] | select(.level != "ok").advice'
    """
    report, bugs = _Report(), []

    def look(report: _Report) -> None:
        try:
            _look_at_engine(report, flags_of(ctx))
        except Exception as bug:
            bugs.append(bug)

    # A resolver, or a file system, that hangs cannot be told to stop: it is left behind, with its report.
    thread = threading.Thread(target=look, args=(report,), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if bugs:
        raise bugs[0]
    if thread.is_alive():
        report = _late(report.settings)
    _look_at_programs(report)
    _look_at_folder(report, "contexts", ContextStore())
    _look_at_folder(report, "saved refs", SavedRefs())
    worst = gravest(report.failures) if report.failures else None
    report.facts["exit"] = int(worst.exit_status if worst else ExitStatus.DONE)

    hide = _hiding(report.settings)
    document = hide(report.facts)
    if json:
        print_json(document)
    else:
        _print_findings(document["findings"])
    if worst is not None:
        raise worst.with_message(hide(worst.message))


@final
class _Report:
    """What was found: facts for programs, findings for people, the failures for the exit status."""

    def __init__(self, settings: Settings | None = None) -> None:
        names = ("engine", "auth", "namespace", "program", "path", "contexts", "saved_refs")
        self.settings = settings
        self.findings: list[dict[str, str | None]] = []
        self.facts: dict[str, Any] = {"exit": None, "findings": self.findings}
        self.facts |= dict.fromkeys(names)  # null: not known
        self.failures: list[Failure] = []

    def add(self, check: str, found: str, level: str = "ok", advice: str | None = None) -> None:
        """A finding. One that is not ok needs an advice."""
        self.findings.append({"check": check, "level": level, "found": found, "advice": advice})

    def fail(self, check: str, failure: Failure, found: str | None = None) -> None:
        """A problem, which counts for the exit status."""
        self.failures.append(failure)
        self.add(check, found or failure.message, "problem", failure.hint or "see `iii doctor --help`")


def _print_findings(findings: list[dict[str, str | None]]) -> None:
    """For a person with the advice below each; else a line each. Nothing is cut."""
    rows = [[each[key] or "" for key in ("level", "check", "found", "advice")] for each in findings]
    if not stdout_is_terminal():
        print_table((), rows)
        return
    shown = []
    for level, check, found, advice in rows:
        shown += [(level, check, clean(found)), *([("", "", f"-> {clean(advice)}")] if advice else ())]
    emit("".join(f"{line}\n" for line in aligned(shown)))


def _late(settings: Settings | None) -> _Report:
    report = _Report(settings)
    if settings is None:
        hint = "does a token file, or a file system, hang?"
        report.fail("settings", LocalProblem("reading the settings took too long", hint=hint))
    else:
        text = f"no answer from {settings.endpoint.address} within {PATIENCE:g} s"
        report.fail("engine", EngineUnreachable(text, hint="does its name resolve?"))
    return report


# The settings and the engine.


def _look_at_engine(report: _Report, flags: GlobalFlags) -> None:
    try:
        settings = report.settings = resolve(flags, os.environ, ContextStore())
    except Failure as unusable:
        report.fail("settings", unusable)
        return
    address, source = settings.endpoint.address, settings.url_source
    facts: dict[str, Any] = dict.fromkeys(("version", "embedded", "connect_ms", "channel_ms"))
    failure = _ask_engine(report, settings, facts)
    if isinstance(failure, NotAuthorised):
        text = f"there is one at {address} ({source}), which wants to know who we are"
        report.add("engine", text, "note", "see auth")
    elif failure is not None:
        report.fail("engine", failure, f"{failure.message}; the URL comes from {source}")
    error = failure.message if failure else None
    head = {"url": address.url, "source": source, "reached": failure is None, "error": error}
    report.facts["engine"] = head | facts
    if not address.secure and not address.is_loopback:
        advice = "put a gateway with TLS before the engine, and use wss://"
        report.add("tls", "none: what is sent can be read on its way", "note", advice)

    name, named_by = settings.namespace, settings.namespace_source
    report.facts["namespace"] = {"name": name or "default", "source": named_by}
    report.add("namespace", f"{name} ({named_by})" if name else "default (nothing names another)")

    token, headers = settings.token_source, [header for header, _ in settings.endpoint.headers]
    shown = f"the token of {token}" if token else "no token"
    shown += f", headers {', '.join(headers)}" if headers else ""
    accepted = True if failure is None else False if isinstance(failure, NotAuthorised) else None
    report.facts["auth"] = {"token_source": token, "headers": headers, "accepted": accepted}
    if isinstance(failure, NotAuthorised):
        advice = "set III_TOKEN, --token-file, or a context's token"
        advice = f"is the token of {token} the one for this engine?" if token else advice
        report.fail("auth", failure.with_hint(advice), f"{failure.message}; we showed {shown}")
    else:
        report.add("auth", f"{shown}; {'not tried' if failure else 'the engine let us in'}")
    for notice in settings.notices:
        text, _, advice = notice.partition("; ")
        report.add("settings", text, "warning", advice or "look at it")


def _ask_engine(report: _Report, settings: Settings, facts: dict[str, Any]) -> Failure | None:
    """Look at it for a moment: five seconds at most, where names resolve. What went wrong is returned."""
    endpoint, url, began = settings.endpoint, settings.endpoint.address.url, time.monotonic()
    patience = min(endpoint.connect_timeout or CONNECT_SECONDS, CONNECT_SECONDS)
    endpoint = replace(endpoint, connect_timeout=patience, wait_engine=None)
    try:
        with BlockingConnection(endpoint) as connection:
            facts["connect_ms"] = _milliseconds_since(began)
            _ask_version(report, connection, facts, f"{endpoint.address} ({settings.url_source})")
            _try_channel(report, connection, facts, endpoint, began + ENGINE_SECONDS)
    except ConnectionLost as lost:
        return EngineUnreachable(f"the engine at {url} was lost during the examination ({lost.reason})")
    except PeerMisbehaved as fault:
        text = f"what answers at {url} is no engine: {fault.message}"
        return EngineUnreachable(text, hint="is the URL right?")
    except Failure as failure:
        return failure
    return None


def _ask_version(report: _Report, connection: BlockingConnection, facts: dict[str, Any], where: str) -> None:
    """Take what the answer of `engine::health::check` holds (docs: protocol, "Built-in functions")."""
    function_id, answer, silence = "engine::health::check", None, "its answer holds none"
    request = InvokeFunction.of(function_id, {}, invocation_id=new_uuid(), namespace="default")
    try:
        answer = connection.exchange(request, time.monotonic() + VERSION_SECONDS)
    except TimeoutError:
        silence = f"no answer within {VERSION_SECONDS:g} s"
    except (FunctionFailed, PeerMisbehaved) as failure:
        silence = printable(failure.message, WORD_MAX)
    told = answer if isinstance(answer, dict) else {}
    version, components = told.get("version"), told.get("components")
    facts["version"] = version = printable(version, WORD_MAX) or None if isinstance(version, str) else None
    facts["embedded"] = embedded = "embedded" in components if isinstance(components, dict) else None
    if version is None:
        report.add("engine", f"at {where}, version unknown: {silence}", "note", "nothing, if it is guarded")
    elif embedded and version != iii_cli.__version__:
        text = f"embedded, version {version} at {where}; this program has version {iii_cli.__version__}"
        report.add("engine", text, "note", "restart the engine")
    else:
        report.add("engine", f"{'embedded, ' if embedded else ''}version {version} at {where}")


def _try_channel(
    report: _Report,
    connection: BlockingConnection,
    facts: dict[str, Any],
    endpoint: Endpoint,
    deadline: float,
) -> None:
    """Send a few bytes through a channel: a gateway may let calls through, and no channel ends."""
    request = InvokeFunction.of("engine::channels::create", {}, invocation_id=new_uuid())
    try:
        refs = read_created(connection.exchange(request, deadline))
        write_target, read_target = map(endpoint.address.channel_target, refs)
        with (
            BlockingWebSocket(endpoint, write_target, what="channel", deadline=deadline) as writer,
            BlockingWebSocket(endpoint, read_target, what="channel", deadline=deadline) as reader,
        ):
            began = time.monotonic()
            writer.send(Opcode.BINARY, PROBE, deadline)
            while not any(opcode == Opcode.BINARY for opcode, _, _ in reader.receive(deadline)):
                pass
            facts["channel_ms"] = _milliseconds_since(began)
    except FunctionFailed as failure:
        text = f"none can be made: {printable(failure.message, WORD_MAX)}"
        report.add("channel", text, "warning", "let the engine's guard allow engine::channels::create")
    except TimeoutError:
        hint = "look at the engine's log, and at what stands before it"
        report.fail("channel", Failure("nothing came through a channel in time", hint=hint))
    except ConnectionLost as lost:
        report.fail("channel", EngineUnreachable(f"a channel was lost while it was tried ({lost.reason})"))
    except Failure as failure:
        report.fail("channel", failure)
    else:
        report.add("channel", f"bytes go through one in {facts['channel_ms']:.2f} ms")


def _milliseconds_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)


# This machine.


def _look_at_programs(report: _Report) -> None:
    version, python = iii_cli.__version__, platform.python_version()
    package, system = os.path.dirname(iii_cli.__file__), platform.platform()
    report.facts["program"] = {"version": version, "python": python, "system": system, "package": package}
    report.add("program", f"iii-cli {version}, Python {python}, in {package}")

    paths, second_name = programs_on_path(), shutil.which("iii-cli")
    ours, others = [path for path in paths if is_ours(path)], [path for path in paths if not is_ours(path)]
    programs = [{"path": path, "ours": path in ours} for path in paths]
    report.facts["path"] = {"iii": programs, "iii-cli": second_name}
    if not ours and second_name is None:
        folder = os.path.dirname(os.path.abspath(sys.argv[0]))
        report.add("path", "this program is not on PATH", "warning", f"add {folder} to PATH")
    if others and paths[0] == others[0]:
        text = f"`iii` is {others[0]}, another program: the engine's own, perhaps"
        report.add("path", text, "note", "say iii-cli for this one, in scripts anyway")
    elif ours:
        text = f"{', '.join(WORDS)} go to {others[0]}" if others else "the engine's own is not on PATH"
        report.add("path", f"`iii` is {ours[0]}; {text}")


def _look_at_folder(report: _Report, check: str, store: ContextStore | SavedRefs) -> None:
    state = store.look()
    problems = [failure.message for failure in state.problems]
    report.facts[check.replace(" ", "_")] = asdict(state) | {"problems": problems}
    for failure in state.problems:
        report.fail(check, failure)
    if state.exposed:
        text = f"other users may look into {', '.join(state.exposed[:5])}"
        report.add(check, text, "warning", "chmod 700 the folder, 600 the files")
    elif state.path is None:
        advice = "set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME"
        report.add(check, "no home folder to keep them in", "note", advice)
    elif not problems:
        report.add(check, f"{len(state.names)} in {state.path}")


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
