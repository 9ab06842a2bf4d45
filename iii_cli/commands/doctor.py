"""`iii doctor`: look at the engine, the settings and this machine, and say what to do.

Theory of operation. `_probe` fills the document, which `--json` prints. Each probe runs in a thread of its
own, because neither a resolver nor a file system that hangs can be told to stop. `_judge` makes the findings.
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
from typing import Annotated, Any, final

import typer
from msgspec.structs import replace

import iii_cli
from iii_cli.client.call import BlockingConnection, new_uuid
from iii_cli.commands.common import flags_of
from iii_cli.commands.completion import installed_completion
from iii_cli.commands.handover import WORDS, is_ours, programs_on_path
from iii_cli.config.settings import GlobalFlags, Settings, resolve
from iii_cli.config.store import ContextStore, FolderState, SavedRefs
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

PATIENCE = 4.5  # seconds for all probes together
CONNECT_SECONDS = 2.5
STEP_SECONDS = 1.0  # for the round trips, and for the answer about the engine's health
ROUND_TRIPS = 9  # odd, for a median that one slow round trip does not move
WORD_MAX = 100  # characters of what an engine says of itself
PARTS = (
    *("engine", "auth", "tls", "namespace", "program", "path", "limits"),
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
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
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
    checkup = _Checkup()
    _probe(checkup, flags_of(ctx))
    _judge(checkup)
    hide = _Hiding(checkup.settings)
    if json:
        print_json(hide(checkup.document))
    else:
        print_checklist([Finding(*hide(list(finding))) for finding in checkup.findings])
    if checkup.failures:
        failure = gravest(checkup.failures)
        raise failure.with_message(hide(failure.message))


@final
class _Checkup:
    """The document for programs, findings for people, the failures for the exit status."""

    def __init__(self) -> None:
        # Keys may be added, never renamed; null is what is not known.
        self.document: dict[str, Any] = dict.fromkeys(("exit", "findings", *PARTS))
        self.settings: Settings | None = None
        self.engine_failure: Failure | None = None
        self.health_failure: str | None = None  # why the engine does not say how it is
        self.folder_failures: dict[str, list[Failure]] = {}
        self.findings: list[Finding] = []
        self.failures: list[Failure] = []

    def add(self, check: str, found: str, level: str = "ok", advice: str | None = None) -> None:
        """A finding. One that is not ok needs an advice."""
        self.findings.append(Finding(check, level, found, None if level == "ok" else advice))

    def fail(self, check: str, failure: Failure, found: str | None = None) -> None:
        """A problem, which counts for the exit status."""
        self.failures.append(failure)
        self.add(check, found or failure.message, "problem", failure.hint or "see `iii doctor --help`")


# Finding out


def _probe(checkup: _Checkup, flags: GlobalFlags) -> None:
    """Fill in what is known within PATIENCE. Raises nothing but bugs."""
    document = checkup.document
    asked = _Checkup()  # of its own: a thread that is left behind may fill it in later

    def engine() -> None:
        try:
            asked.settings = resolve(flags, os.environ, ContextStore())
        except Failure as failure:
            asked.fail("settings", failure)
        else:
            _examine(asked, asked.settings.endpoint)

    def programs() -> None:
        found = [{"path": path, "ours": is_ours(path)} for path in programs_on_path()]
        document["path"] = {"iii": found, "iii-cli": shutil.which("iii-cli")}

    def folder(key: str, look: Callable[[], FolderState]) -> None:
        state = look()
        checkup.folder_failures[key] = state.problems
        document[key] = {
            "folder": state.path,
            "exists": state.exists,
            "writable": state.writable,
            "names": state.names,
            "problems": [failure.message for failure in state.problems],
            "exposed": state.exposed,
        }

    def completion() -> None:
        shell, path = installed_completion(os.environ, sys.prefix)
        document["completion"] = {"shell": shell, "path": path}

    document["program"] = {
        "version": iii_cli.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "package": os.path.dirname(iii_cli.__file__),
    }
    limits = system_limits()
    names = ("open_files", "open_files_max", "file_bytes", "pipe_bytes")
    document["limits"] = {name: getattr(limits, name) for name in names}
    late = _side_by_side(
        {
            "engine": engine,
            "programs": programs,
            "contexts": lambda: folder("contexts", ContextStore().look),
            "saved refs": lambda: folder("saved_refs", SavedRefs().look),
            "completion": completion,
        }
    )
    checkup.settings, checkup.engine_failure = asked.settings, asked.engine_failure
    checkup.health_failure = asked.health_failure
    document |= {key: asked.document[key] for key in ("engine", "tls")}
    checkup.findings, checkup.failures = asked.findings[:], asked.failures[:]
    for name in late:
        if name != "engine":
            hint = "does a file system hang?"
            checkup.fail(name, LocalProblem("looking at it took too long", hint=hint))
        elif asked.settings is None:
            hint = "does a token file, or a file system, hang?"
            checkup.fail("settings", LocalProblem("reading the settings took too long", hint=hint))
        else:
            text = f"no answer from {asked.settings.endpoint.address} within {PATIENCE:g} s"
            checkup.engine_failure = EngineUnreachable(text, hint="does its name resolve?")
            document["engine"] = _unknown_engine()


def _side_by_side(probes: dict[str, Callable[[], None]]) -> list[str]:
    """Run each in a thread, and name those that did not end in time: they are left behind."""
    bugs: list[Exception] = []

    def guarded(look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as bug:
            bugs.append(bug)

    deadline = time.monotonic() + PATIENCE
    threads = {
        name: threading.Thread(target=guarded, args=(look,), daemon=True) for name, look in probes.items()
    }
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(deadline - time.monotonic(), 0))
    if bugs:
        raise bugs[0]
    return [name for name, thread in threads.items() if thread.is_alive()]


def _unknown_engine() -> dict[str, Any]:
    keys = ("embedded", "version", "status", "connect_ms", "latency_ms", "clock_ahead_ms")
    return dict.fromkeys(keys) | {"round_trips": 0, "limits": {}}


def _examine(checkup: _Checkup, endpoint: Endpoint) -> None:
    """Look at an engine for a moment: five seconds at most, where names resolve."""
    engine = checkup.document["engine"] = _unknown_engine()
    patience = min(endpoint.connect_timeout or CONNECT_SECONDS, CONNECT_SECONDS)
    quick = replace(endpoint, connect_timeout=patience, wait_engine=None)
    url = endpoint.address.url
    began = time.monotonic()
    try:
        with BlockingConnection(quick) as connection:
            engine["connect_ms"] = _milliseconds(time.monotonic() - began)
            session = connection.tls_session()
            if session is not None:
                checkup.document["tls"] = session | {"ca_file": endpoint.tls.ca_file}
            _measure(connection, engine)
            _ask_health(checkup, connection, engine)
    except ConnectionLost as lost:
        text = f"the engine at {url} was lost during the examination ({lost.reason})"
        checkup.engine_failure = EngineUnreachable(text)
    except PeerMisbehaved as fault:
        text = f"what answers at {url} is no engine: {fault.message}"
        checkup.engine_failure = EngineUnreachable(text, hint="is the URL right?")
    except Failure as failure:
        checkup.engine_failure = failure


def _measure(connection: BlockingConnection, engine: dict[str, Any]) -> None:
    times: list[float] = []
    deadline = time.monotonic() + STEP_SECONDS
    with suppress(TimeoutError):
        for _ in range(ROUND_TRIPS):
            sent = time.monotonic()
            connection.ping(deadline)
            times.append(time.monotonic() - sent)
    engine["round_trips"] = len(times)
    if times:
        engine["latency_ms"] = _milliseconds(sorted(times)[len(times) // 2])


def _ask_health(checkup: _Checkup, connection: BlockingConnection, engine: dict[str, Any]) -> None:
    """Ask `engine::health::check` (docs: protocol, "Built-in functions"), and take what its answer holds."""
    request = InvokeFunction.of("engine::health::check", {}, invocation_id=new_uuid(), namespace="default")
    sent, started = time.time(), time.monotonic()
    try:
        answer = connection.exchange(request, started + STEP_SECONDS)
    except TimeoutError:
        checkup.health_failure = f"no answer within {STEP_SECONDS:g} s"
        return
    except (FunctionFailed, PeerMisbehaved) as failure:
        checkup.health_failure = printable(failure.message, WORD_MAX)
        return
    middle = sent + (time.monotonic() - started) / 2
    told = answer if isinstance(answer, dict) else {}
    for name in ("version", "status"):
        value = told.get(name)
        engine[name] = printable(value, WORD_MAX) or None if isinstance(value, str) else None
    stamp = told.get("timestamp")
    if is_count(stamp) and 0 < stamp < 1e14:
        engine["clock_ahead_ms"] = round(stamp - middle * 1000)
    components = told.get("components")
    if isinstance(components, dict):
        embedded = components.get("embedded")
        engine["embedded"] = embedded is not None
        details = embedded.get("details") if isinstance(embedded, dict) else None
        if isinstance(details, dict):
            engine["limits"] = {name: details[name] for name in LIMITS if is_count(details.get(name))}


def _milliseconds(span: float) -> float:
    return round(span * 1000, 3)


# Making something of it


def _judge(checkup: _Checkup) -> None:
    """Make the findings, the engine first, and complete the document."""
    late, checkup.findings = checkup.findings, []
    if checkup.settings is None:
        checkup.findings, late = late[:1], late[1:]
    else:
        _judge_engine(checkup, checkup.settings)
        _judge_access(checkup, checkup.settings)
        _judge_tls(checkup, checkup.settings.endpoint)
        for notice in checkup.settings.notices:
            text, _, advice = notice.partition("; ")
            checkup.add("settings", text, "warning", advice or "look at it")
    _judge_programs(checkup)
    _judge_limits(checkup)
    _judge_folder(checkup, "contexts", "contexts")
    _judge_folder(checkup, "saved refs", "saved_refs")
    _judge_completion(checkup)
    checkup.findings += late
    status = gravest(checkup.failures).exit_status if checkup.failures else ExitStatus.DONE
    checkup.document |= {"exit": int(status), "findings": [each._asdict() for each in checkup.findings]}


def _judge_engine(checkup: _Checkup, settings: Settings) -> None:
    engine, failure, address = checkup.document["engine"], checkup.engine_failure, settings.endpoint.address
    where, version = f"{address} ({settings.url_source})", engine["version"]
    if isinstance(failure, NotAuthorised):
        checkup.add("engine", f"there is one at {where}, which wants to know who we are", "note", "see auth")
    elif failure is not None:
        checkup.fail("engine", failure, f"{failure.message}; the URL comes from {settings.url_source}")
    elif version is None:
        text = f"at {where}, version unknown: {checkup.health_failure or 'its answer holds none'}"
        checkup.add("engine", text, "note", "nothing, if it is a guarded one")
    else:
        checkup.add("engine", f"{'embedded, ' if engine['embedded'] else ''}version {version} at {where}")
        if engine["embedded"] and version != iii_cli.__version__:
            text = f"this program has version {iii_cli.__version__}"
            checkup.add("engine", text, "note", "restart the engine")
    if failure is None and engine["status"] not in (None, "healthy"):
        checkup.add("health", f"the engine says that it is {engine['status']}", "warning", "look at its log")
    latency, ahead = engine["latency_ms"], engine["clock_ahead_ms"]
    if latency is not None:
        level = "ok" if latency < SLOW_MS else "note"
        text = f"{_short(latency)}, the median of {engine['round_trips']} round trips"
        text += f"; {_short(engine['connect_ms'])} to connect"
        checkup.add("latency", text, level, "make fewer, longer calls: `iii trigger --each`, channels")
    elif failure is None:
        text = "the engine does not answer pings"
        checkup.add("latency", text, "warning", "is what answers there an iii engine?")
    if ahead is not None and abs(ahead) <= SKEW_MS:
        checkup.add("clock", f"the engine's and ours differ by {_short(abs(ahead))}")
    elif ahead is not None:
        text = f"the engine's clock is {_short(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} ours"
        checkup.add("clock", text, "warning", "set the clocks by NTP: times in traces and logs are wrong")
    used, most = (engine["limits"].get(name) for name in ("open_channels", "max_channels"))
    if used is not None and most is not None:
        text, held = f"{used} of {most} open", engine["limits"].get("max_buffer_bytes")
        text += "" if held is None else f", each holding back {format_bytes(held)} at most"
        level = "ok" if used < NEARLY_FULL * most else "warning"
        checkup.add("channels", text, level, "end transfers, or `iii engine run --max-channels N`")
    error = failure.message if failure else None
    head = {"url": address.url, "source": settings.url_source, "reached": failure is None, "error": error}
    checkup.document["engine"] = head | engine


def _judge_access(checkup: _Checkup, settings: Settings) -> None:
    """The namespace, and what we show to be let in."""
    name, source, failure = settings.namespace, settings.namespace_source, checkup.engine_failure
    checkup.document["namespace"] = {"name": name or "default", "source": source}
    checkup.add("namespace", f"{name} ({source})" if name else "default (nothing names another)")
    token, headers = settings.token_source, [header for header, _ in settings.endpoint.headers]
    shown = f"the token of {token}" if token else "no token"
    shown += f", headers {', '.join(headers)}" if headers else ""
    refused = isinstance(failure, NotAuthorised)
    accepted = False if refused else True if failure is None else None
    checkup.document["auth"] = {"token_source": token, "headers": headers, "accepted": accepted}
    if failure is not None and refused:
        advice = "set III_TOKEN, --token-file, or a context's token"
        checkup.failures.append(failure)
        checkup.add(
            "auth",
            f"{failure.message}; we showed {shown}",
            "problem",
            f"is the token of {token} the one for this engine?" if token else advice,
        )
    else:
        checkup.add("auth", f"{shown}; {'not tried' if failure else 'the engine let us in'}")


def _judge_tls(checkup: _Checkup, endpoint: Endpoint) -> None:
    tls = checkup.document["tls"]
    if not endpoint.address.secure:
        local = endpoint.address.is_loopback
        text = "none, on this machine alone" if local else "none: what is sent can be read on its way"
        advice = "put a gateway with TLS before the engine, and use wss://"
        checkup.add("tls", text, "ok" if local else "note", advice)
    elif tls is not None:
        trust = tls["ca_file"] or "the system's authorities"
        text = f"{tls['protocol']}, {tls['cipher']}; the certificate of {tls['subject']!r}"
        text += f" by {tls['issuer']!r}, trusted by {trust}"
        left = math.inf if tls["expires_at"] is None else tls["expires_at"] - time.time()
        text += "" if left == math.inf else f", good for {left / 86_400:.0f} days"
        checkup.add("tls", text, "ok" if left > RENEW_SECONDS else "warning", "renew it")
    elif checkup.engine_failure is None:
        checkup.add("tls", "nothing is known of the session", "note", "look at the gateway")


def _judge_programs(checkup: _Checkup) -> None:
    program, path = checkup.document["program"], checkup.document["path"]
    text = f"iii-cli {program['version']}, Python {program['python']}, in {program['package']}"
    checkup.add("program", text)
    if path is None:
        return
    ours = [found["path"] for found in path["iii"] if found["ours"]]
    others = [found["path"] for found in path["iii"] if not found["ours"]]
    if not ours and path["iii-cli"] is None:
        folder = os.path.dirname(os.path.abspath(sys.argv[0]))
        checkup.add("path", "this program is not on PATH", "warning", f"add {folder} to PATH")
    if others and path["iii"][0]["path"] == others[0]:
        text = f"`iii` is {others[0]}, another program: the engine's own, perhaps"
        checkup.add("path", text, "note", "say iii-cli for this one, in scripts anyway")
    elif others:
        checkup.add("path", f"`iii` is {ours[0]}; {', '.join(WORDS)} go to {others[0]}")
    elif ours:
        checkup.add("path", f"`iii` is {ours[0]}; the engine's own is not on PATH")
    if len(ours) > 1:
        text = f"this program is installed more than once: {', '.join(ours)}; the first one wins"
        checkup.add("path", text, "note", "remove those that you do not want")


def _judge_limits(checkup: _Checkup) -> None:
    files, most, file_bytes, pipe_bytes = checkup.document["limits"].values()
    if files is not None:
        text = f"{files} at once (`ulimit -n`), can be raised to {'no limit' if most is None else most}"
        checkup.add("open files", text, "warning" if files < FEW_FILES else "ok", "ulimit -n 1024")
    if file_bytes is not None:
        text = f"no file may be longer than {format_bytes(file_bytes)} (`ulimit -f`)"
        checkup.add("file size", text, "warning", "ulimit -f unlimited, or -o FILE fails with 10 there")
    if pipe_bytes is not None:
        text = f"can be grown to {format_bytes(pipe_bytes)} (fs.pipe-max-size)"
        if pipe_bytes < PIPE_BYTES:
            checkup.add("pipes", f"{text}; they are slower", "note", f"sysctl fs.pipe-max-size={PIPE_BYTES}")
        else:
            checkup.add("pipes", text)


def _judge_folder(checkup: _Checkup, check: str, key: str) -> None:
    state, failures = checkup.document[key], checkup.folder_failures.get(key, [])
    if state is None:
        return
    for failure in failures:
        checkup.fail(check, failure)
    if state["exposed"]:
        text = f"other users may look into {', '.join(state['exposed'][:5])}"
        checkup.add(check, text, "warning", "chmod 700 the folder, 600 the files")
    if state["folder"] is None:
        advice = "set HOME, or XDG_CONFIG_HOME and XDG_STATE_HOME"
        checkup.add(check, "no home folder to keep them in", "note", advice)
    elif not state["writable"]:
        text = f"{state['folder']} cannot be written"
        checkup.add(check, text, "note", "nothing, if none are to be saved")
    elif not failures and not state["exposed"]:
        checkup.add(check, f"{len(state['names'])} in {state['folder']}")


def _judge_completion(checkup: _Checkup) -> None:
    found = checkup.document["completion"] or {"shell": None}
    shell = found["shell"]
    if shell is not None and found["path"] is not None:
        checkup.add("completion", f"{shell} has it from {found['path']}")
    elif shell is not None:
        how = {
            "bash": "add to ~/.bashrc: source <(iii-cli completion bash)",
            "zsh": "iii-cli completion zsh > a folder of $fpath, as _iii",
            "fish": "iii-cli completion fish > ~/.config/fish/completions/iii.fish",
        }[shell]
        checkup.add("completion", f"not found where {shell} looks by itself", "note", how)


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else format_duration(milliseconds / 1000)


@final
class _Hiding:
    """Put `***` in the place of refs and tokens, wherever they were given and whoever repeats them.

    People put them where names, URLs and files belong, and an engine may say back what it was sent.
    """

    def __init__(self, settings: Settings | None) -> None:
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
        self._secrets = sorted(long_enough, key=len, reverse=True)  # one may hold another

    def __call__(self, value: Any) -> Any:
        """A copy of the text, list or object."""
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "***")
            return mask_refs(value)
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        return [self(item) for item in value] if isinstance(value, list) else value
