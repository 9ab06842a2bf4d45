"""What `iii doctor` does: look at everything at once, print what was found, end as the gravest problem."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from iii_cli.client.checkup import EngineFacts, examine
from iii_cli.commands.engine.words import is_ours, programs_on_path
from iii_cli.commands.shell.installed import InstalledCompletion, installed_completion
from iii_cli.config.settings import resolve
from iii_cli.config.store import ContextStore, FolderState, look_at_contexts, look_at_refs
from iii_cli.errors import EngineUnreachable, Failure, LocalProblem, gravest
from iii_cli.io.console import Finding, mask_refs, print_checklist, print_json
from iii_cli.io.descriptors import SystemLimits, system_limits
from iii_cli.protocol.refs import secrets_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.config.settings import GlobalFlags, Settings

__all__ = ("Facts", "Program", "examine_everything")

SECRET_CHARACTERS = 4  # what is shorter is in many a word, and no secret
PATIENCE = 4.5  # seconds for all probes together


@dataclass(frozen=True, slots=True)
class Program:
    """A program called iii on PATH."""

    path: str
    ours: bool


@dataclass(slots=True)
class Facts:
    """All that was found out. `late` names the probes that did not end in time."""

    settings: Settings | None = None
    settings_failure: Failure | None = None  # why there are none
    failures: list[Failure] = field(default_factory=list)
    engine: EngineFacts = field(default_factory=EngineFacts)
    programs: list[Program] = field(default_factory=list)
    second_name: str | None = None  # where iii-cli is on PATH
    contexts: FolderState = field(default_factory=FolderState)
    refs: FolderState = field(default_factory=FolderState)
    limits: SystemLimits = SystemLimits()  # noqa: RUF009 - a value, which cannot change
    completion: InstalledCompletion = InstalledCompletion()  # noqa: RUF009
    late: list[str] = field(default_factory=list)


def examine_everything(flags: GlobalFlags, *, as_json: bool) -> None:
    """Print the findings. Raises the gravest Failure among them once they are printed."""
    from iii_cli.commands.doctor.document import document
    from iii_cli.commands.doctor.findings import findings

    facts = Facts()
    _probe(facts, flags)
    for folder in (facts.contexts, facts.refs):
        facts.failures += folder.problems
    facts.failures += [each for each in (facts.settings_failure, facts.engine.failure) if each is not None]
    found = findings(facts)
    hide = _Hiding(facts)
    if as_json:
        print_json(hide(document(facts, found)))
    else:
        print_checklist([Finding(*hide(list(finding))) for finding in found])
    if facts.failures:
        failure = gravest(facts.failures)
        raise failure.with_message(hide(failure.message))


@final
class _Hiding:
    """Put `***` in the place of refs and tokens, wherever they were given and whoever repeats them.

    People put them where names, URLs and files belong, and an engine may say back what it was sent.
    """

    def __init__(self, facts: Facts) -> None:
        variables = ["III_TOKEN"]
        urls = [os.environ.get("III_URL", "")]
        secrets: list[str] = []
        if facts.settings is not None:
            endpoint = facts.settings.endpoint
            variables += [facts.settings.token_variable or ""]
            urls += [endpoint.address.full_url]
            secrets += [value for _, value in endpoint.request_headers()]
            secrets += [endpoint.token.reveal()] if endpoint.token else []
        secrets += [os.environ.get(variable, "").strip() for variable in variables]
        secrets += [secret for url in urls for secret in secrets_in(url)]
        self._secrets = sorted({text for text in secrets if len(text) >= SECRET_CHARACTERS}, key=len)

    def __call__(self, value: Any) -> Any:
        """A copy of the text, list or object."""
        if isinstance(value, str):
            for secret in reversed(self._secrets):  # one may hold another
                value = value.replace(secret, "***")
            return mask_refs(value)
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        return [self(item) for item in value] if isinstance(value, list) else value


def _probe(facts: Facts, flags: GlobalFlags) -> None:
    asked = Facts()  # of its own: a thread that is left behind may still fill it in
    probes: dict[str, Callable[[], object]] = {
        "engine": lambda: _look_at_engine(asked, flags),
        "programs": lambda: _look_at_programs(facts),
        "contexts": lambda: setattr(facts, "contexts", look_at_contexts()),
        "saved refs": lambda: setattr(facts, "refs", look_at_refs()),
        "completion": lambda: setattr(facts, "completion", installed_completion(os.environ, sys.prefix)),
    }
    facts.limits = system_limits()
    late = _side_by_side(probes)
    facts.settings, facts.settings_failure = asked.settings, asked.settings_failure
    facts.engine = asked.engine
    if "engine" in late:
        late.remove("engine")
        _give_up_on_engine(facts)
    if late:
        facts.failures.append(LocalProblem(f"looking at {', '.join(late)} took too long"))
    facts.late = late


def _look_at_engine(facts: Facts, flags: GlobalFlags) -> None:
    try:
        facts.settings = resolve(flags, os.environ, ContextStore())
    except Failure as failure:
        facts.settings_failure = failure
    else:
        examine(facts.settings.endpoint, facts.engine)


def _give_up_on_engine(facts: Facts) -> None:
    if facts.settings is None:
        hint = "does a token file, or a file system, hang?"
        facts.settings_failure = LocalProblem("reading the settings took too long", hint=hint)
        return
    where = facts.settings.endpoint.address
    late = EngineUnreachable(f"no answer from {where} within {PATIENCE:g} s", hint="does its name resolve?")
    facts.engine = EngineFacts(failure=late)


def _side_by_side(probes: dict[str, Callable[[], object]]) -> list[str]:
    """Run each in a thread of its own, and name those that PATIENCE was too short for.

    Those are left behind: neither the resolver nor a file system that hangs can be told to stop.
    """
    bugs: list[Exception] = []

    def guarded(probe: Callable[[], object]) -> None:
        try:
            probe()
        except Exception as bug:
            bugs.append(bug)

    deadline = time.monotonic() + PATIENCE
    threads = {
        name: threading.Thread(target=guarded, args=(probe,), daemon=True) for name, probe in probes.items()
    }
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(deadline - time.monotonic(), 0))
    if bugs:
        raise bugs[0]
    return [name for name, thread in threads.items() if thread.is_alive()]


def _look_at_programs(facts: Facts) -> None:
    import shutil

    facts.programs = [Program(path, is_ours(path)) for path in programs_on_path()]
    facts.second_name = shutil.which("iii-cli")
