"""What a shell asks at a TAB. Light: it runs at every TAB.

    iii _complete line WORD -- WORDS               what may stand for WORD behind WORDS
    iii _complete KIND PREFIX [FUNCTION] -- WORDS   what there is of a kind, such as `function`

The first line of the answer to `line` says how to go on: `files` or `dirs`, which the shell knows;
`nospace`; or `rest`, for the words of a COMMAND. Behind it stands how many characters of WORD come before
what is completed, of WORDS for `rest`. Then the candidates, each with a description behind a tab.

All comes within 300 ms of the start, or nothing. No errors, ever: a TAB is no place for them.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("WORDS_FILE", "answer")

WORDS_FILE = os.path.join(
    os.path.dirname(__file__), "words.json"
)  # written by manual.py from the command tree
# Of the 0.3 s that a person does not notice; starting Python takes the rest. III_COMPLETION_TIMEOUT overrides
# it, for engines that are far away.
PATIENCE = "200ms"
# A worker chooses its names, and what is completed is run: nothing that a shell would read as more than a
# word, and nothing that we would read as an option or a saved ref.
HARMLESS = re.compile(r"[A-Za-z0-9_.:/+][A-Za-z0-9_.:/@+-]{0,199}")
_SETTINGS = {"--url": "url", "--context": "context", "-n": "namespace", "--namespace": "namespace"} | {
    f"--{name}": name.replace("-", "_") for name in ("token-file", "cacert", "cert", "key", "server-name")
}


def answer(arguments: list[str]) -> None:
    """Print the candidates, and end the process in time even if the engine does not answer."""
    from iii_cli.errors import Failure

    try:
        _end_in_time()
        if arguments[:1] == ["line"]:  # WORD may be a `--` itself
            lines = _line(arguments[1], arguments[3:])
        else:
            at = arguments.index("--") if "--" in arguments else len(arguments)
            kind, prefix, function = (*arguments[:at], "", "", "")[:3]
            lines = _known(kind, prefix, function, arguments[at + 1 :])
    except (Failure, Exception):  # whatever an engine answers: it is no time to complain
        return
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _patience() -> float | None:
    from iii_cli.quantities import seconds

    return seconds(os.environ.get("III_COMPLETION_TIMEOUT") or PATIENCE)


def _end_in_time() -> None:
    """A thread, because a name server that is away would hold up everything else."""
    import threading

    timer = threading.Timer(_patience() or threading.TIMEOUT_MAX, os._exit, (0,))
    timer.daemon = True
    timer.start()


# A command line.


def _line(word: str, words: list[str]) -> list[str]:
    """What may stand for `word`: the command tree says it, and for names the engine."""
    import json

    with open(WORDS_FILE, encoding="utf-8") as file:
        tree = json.load(file)
    path, function, position, flag = "", "", 0, ""
    for at, given in enumerate(words):
        if flag:
            flag = ""
        elif given == "--":
            return [f"rest {at + 1}"] if tree[path]["passthrough"] else []
        elif given.startswith("-"):
            takes_value = "=" not in given and _option(tree, path, given)[1] is not None
            flag = given if takes_value else ""
        elif (child := tree["aliases"].get(given, given) if not path else f"{path} {given}") in tree:
            path = child
        else:
            function = given if position == 0 else function
            position += 1

    command = tree[path]
    if not flag and word.startswith("--") and "=" in word:
        flag = word.partition("=")[0]
        before = len(flag) + 1
    else:
        before = 0
    if flag:
        kinds = _option(tree, path, flag)[1] or ""
    elif word.startswith("-") and " " not in word:
        options = tree[""]["options"] | command["options"]
        return [
            "words 0",
            *(f"{name}\t{text}" for name, (text, _) in options.items() if name.startswith(word)),
        ]
    elif command["commands"]:
        children = command["commands"].items() if position == 0 else ()
        return ["words 0", *(f"{name}\t{text}" for name, text in children if name.startswith(word))]
    else:
        places = command["arguments"]
        kinds, many = places[min(position, len(places) - 1)] if places else ("", False)
        if position >= len(places) and not many:
            kinds = ""

    if kinds == "@stage":
        return _stage(word, words)
    # `@keys=KINDS`: a key with its `=`, behind which there are KINDS.
    how, found = "words", []
    for kind in kinds.split():
        if kind.startswith("@keys=") and "=" in word[before:]:
            before = word.index("=", before) + 1
            kinds = kind.removeprefix("@keys=")
            break
    for kind in kinds.split():
        if kind in ("@file", "@dir"):
            how = f"{kind[1:]}s"
        elif kind.startswith("@"):
            name = "keys" if kind.startswith("@keys=") else kind[1:]
            how = f"{how} nospace" if name == "keys" else how
            found += _known(name, word[before:], function, words)
        elif kind.startswith(word[before:]):
            found.append(kind)
    return [f"{how} {before}", *found]


def _stage(word: str, words: list[str]) -> list[str]:
    """What may stand at the end of a STAGE, whose quote is still open: a function, or one of its keys."""
    text = word.lstrip("'\"")
    *parts, last = text.split(" ")
    parts = [part for part in parts if part]
    if parts[:1] == ["-n"]:
        words, parts = [*words, *parts[:2]], parts[2:]
    kind, function = ("keys", parts[0]) if parts else ("function", "")
    found = _known(kind, last, function, words) if text[:3] != "-n " or words[-2:-1] == ["-n"] else []
    return [f"words{' nospace' if kind == 'keys' else ''} {len(word) - len(last)}", *found]


def _option(tree: Mapping[str, Any], path: str, flag: str) -> tuple[str, str | None]:
    """Its help, and the kinds of its value; None: it takes none."""
    known: tuple[str, str | None] = tree[path]["options"].get(flag) or tree[""]["options"].get(
        flag, ("", None)
    )
    return known


# Names of things.


def _known(kind: str, prefix: str, function: str, words: list[str]) -> list[str]:
    """Of a kind what begins with the prefix, sorted. `words` hold `--url` and the like."""
    names = (name for name in _names(kind, prefix, function, words) if name.startswith(prefix))
    ours = "@" if kind == "ref" else ""  # as is the `=` behind a key
    return sorted({name for name in names if HARMLESS.fullmatch(name.removeprefix(ours).rstrip("="))})


def _names(kind: str, prefix: str, function: str, words: list[str]) -> list[str]:
    """Everything of that kind. Raises whatever reading it, or an engine's odd answer, raises."""
    if kind == "function":
        internal = {"include_internal": True} if prefix.startswith("engine") else {}
        rows = _ask(words, "engine::functions::list", {"prefix": prefix} | internal)["functions"]
        return [str(row["function_id"]) for row in rows]
    if kind == "worker":
        rows = _ask(words, "engine::workers::list", {})["workers"]
        return [str(row["name"]) for row in rows if row.get("name")]
    if kind == "keys":
        found = _ask(words, "engine::functions::info", {"function_id": function})
        schema = found.get("request_schema") or found.get("request_format")
        return [f"{name}=" for name in schema["properties"]]
    from iii_cli.config.store import ContextStore, SavedRefs

    if kind == "context":
        return ContextStore().names()
    store = SavedRefs()
    if kind == "saved":
        return [saved.name for saved in store.ls()[0]]
    if kind == "ref":
        return [f"@{saved.name}" for saved in store.ls()[0] if saved.state(store.now()) == "unused"]
    return []


def _ask(words: list[str], function: str, data: dict[str, Any]) -> Any:
    from iii_cli.client.call import call
    from iii_cli.config.settings import GlobalFlags, resolve
    from iii_cli.config.store import ContextStore

    given: dict[str, Any] = {}
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in _SETTINGS and (equals or at + 1 < len(words)):
            given[_SETTINGS[flag]] = value if equals else words[at + 1]
    if given.get("token_file") == "-":
        raise ValueError("stdin is the person's")
    patience = _patience()
    settings = resolve(GlobalFlags(**given, connect_timeout=str(patience or 0)), os.environ, ContextStore())
    if settings.namespace is not None and function == "engine::functions::info":
        data = data | {"namespace": settings.namespace}
    return call(settings.endpoint, function, data, timeout=patience)
