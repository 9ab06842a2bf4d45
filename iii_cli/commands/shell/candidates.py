"""`iii _complete KIND PREFIX [FUNCTION] -- WORDS`: what a completion script asks while a person waits.

Prints what begins with PREFIX, one a line, within 300 ms of its start, or nothing. Says nothing else, ever:
a TAB is no place for errors. WORDS is the command line, for `--url` and the like.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from iii_cli.config.settings import GlobalFlags
from iii_cli.errors import Failure
from iii_cli.quantities import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.config.settings import Settings

__all__ = ("answer",)

# Of the 0.3 s that a person does not notice; starting Python takes the rest. III_COMPLETION_TIMEOUT overrides
# it, for engines that are far away.
PATIENCE = "200ms"
# A worker chooses its names, and what is completed is run: nothing that a shell would read as more than a
# word, and nothing that we would read as an option or a saved ref.
HARMLESS = re.compile(r"[A-Za-z0-9_.:/+][A-Za-z0-9_.:/@+-]{0,199}")
VALUE_FLAGS = {"--url": "url", "--context": "context", "-n": "namespace", "--namespace": "namespace"} | {
    f"--{name}": name.replace("-", "_") for name in ("token-file", "cacert", "cert", "key", "server-name")
}


def answer(arguments: list[str]) -> None:
    """Print the candidates, and end the process in time even if the engine does not answer."""
    try:
        _limit()
    except Failure:
        return
    before, words = arguments, []
    if "--" in arguments:
        at = arguments.index("--")
        before, words = arguments[:at], arguments[at + 1 :]
    kind, prefix, function = (*before, "", "", "")[:3]
    if kind not in _KINDS:
        return
    try:
        found = _KINDS[kind](words, prefix, function)
    except Exception:  # whatever an engine answers: it is no time to complain
        return
    fitting = sorted(
        {name for name in found if name.startswith(prefix) and HARMLESS.fullmatch(_bare(kind, name))}
    )
    sys.stdout.write("".join(f"{name}\n" for name in fitting))
    sys.stdout.flush()


def _bare(kind: str, name: str) -> str:
    """The name without what is ours: the `=` behind a key, the `@` before a saved ref."""
    return name.removeprefix("@") if kind == "ref" else name.rstrip("=")


def _limit() -> None:
    """A thread, because a name server that is away would hold up everything else."""
    import threading

    timer = threading.Timer(_patience() or threading.TIMEOUT_MAX, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _patience() -> float | None:
    return seconds(os.environ.get("III_COMPLETION_TIMEOUT") or PATIENCE)


def _settings(words: list[str]) -> Settings:
    from iii_cli.config.settings import resolve
    from iii_cli.config.store import ContextStore

    given: dict[str, Any] = {}
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in VALUE_FLAGS and (equals or at + 1 < len(words)):
            given[VALUE_FLAGS[flag]] = value if equals else words[at + 1]
    if given.get("token_file") == "-":
        raise Failure("stdin is the person's")
    return resolve(GlobalFlags(**given, connect_timeout=str(_patience() or 0)), os.environ, ContextStore())


def _ask(words: list[str], function: str, data: dict[str, Any]) -> Any:
    from iii_cli.client.call import call

    settings = _settings(words)
    if settings.namespace is not None and function == "engine::functions::info":
        data = data | {"namespace": settings.namespace}
    return call(settings.endpoint, function, data, timeout=_patience())


def _functions(words: list[str], prefix: str, function: str) -> list[str]:
    internal = {"include_internal": True} if prefix.startswith("engine") else {}
    rows = _ask(words, "engine::functions::list", {"prefix": prefix} | internal)
    return [str(row["function_id"]) for row in rows["functions"]]


def _workers(words: list[str], prefix: str, function: str) -> list[str]:
    return [
        str(row["name"]) for row in _ask(words, "engine::workers::list", {})["workers"] if row.get("name")
    ]


def _keys(words: list[str], prefix: str, function: str) -> list[str]:
    found = _ask(words, "engine::functions::info", {"function_id": function})
    schema = found.get("request_schema") or found.get("request_format")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return [f"{name}=" for name in properties] if isinstance(properties, dict) else []


def _contexts(words: list[str], prefix: str, function: str) -> list[str]:
    from iii_cli.config.store import ContextStore

    return list(ContextStore().names())


def _saved(words: list[str], prefix: str, function: str) -> list[str]:
    from iii_cli.config.store import SavedRefs

    return [saved.name for saved in SavedRefs().ls()[0]]


def _refs(words: list[str], prefix: str, function: str) -> list[str]:
    from iii_cli.config.store import SavedRefs

    store = SavedRefs()
    now = store.now()
    return [f"@{saved.name}" for saved in store.ls()[0] if saved.state(now) == "unused"]


_KINDS: dict[str, Callable[[list[str], str, str], list[str]]] = {
    "function": _functions,
    "worker": _workers,
    "keys": _keys,
    "context": _contexts,
    "saved": _saved,
    "ref": _refs,
}
