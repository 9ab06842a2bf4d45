"""What a shell asks at a TAB. Light: it runs at every TAB.

    iii _complete line WORD -- WORDS        what may stand for WORD behind WORDS

The first line of the answer says how to go on: `files` or `dirs`, which the shell knows; `nospace`; or
`rest`, for the words of a COMMAND. Behind it stands how many characters of WORD come before what is
completed, of WORDS for `rest`. Then the candidates, each with a description behind a tab.

All comes within 300 ms of the start, or nothing. No errors, ever: a TAB is no place for them.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

__all__ = ("answer",)

# Of the 0.3 s that a person does not notice; starting Python takes the rest. III_COMPLETION_TIMEOUT overrides
# it, for engines that are far away.
PATIENCE = "200ms"
# A worker chooses its names, and what is completed is run: nothing that a shell would read as more than a
# word, and nothing that we would read as an option or a saved ref.
HARMLESS = re.compile(r"[A-Za-z0-9_.:/+][A-Za-z0-9_.:/@+-]{0,199}")
_SETTINGS = {"--url": "url", "--context": "context", "-n": "namespace", "--namespace": "namespace"} | {
    f"--{name}": name.replace("-", "_") for name in ("token-file", "cacert", "cert", "key", "server-name")
}

_ALIASES = {"t": "trigger"}  # hidden words that people type


def answer(arguments: list[str]) -> None:
    """Print the candidates, and end the process in time even if the engine does not answer."""
    from iii_cli.errors import Failure

    try:
        _end_in_time()
        _, word, _, *words = arguments
        lines = _candidates(word, words)
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


def _candidates(word: str, words: list[str]) -> list[str]:
    """What may stand for `word`: the command tree says it, and for names the engine."""
    import json

    # Written by manual.py from the command tree, which says there what the kinds of values are.
    with open(os.path.join(os.path.dirname(__file__), "words.json"), encoding="utf-8") as file:
        tree = json.load(file)
    command, path, flag = tree[""], "", ""
    options = dict(command["options"])
    arguments: list[str] = []
    for at, given in enumerate(words):
        if flag:
            flag = ""
        elif given == "--":
            return [f"rest {at + 1}"] if command["passthrough"] else []
        elif given.startswith("-"):
            takes_value = options.get(given, ["", None])[1] is not None
            flag = given if takes_value else ""
        elif (child := f"{path} {_ALIASES.get(given, given)}".lstrip()) in tree:
            path, command = child, tree[child]
            options |= command["options"]
        else:
            arguments.append(given)

    function = arguments[0] if arguments else ""
    before = 0
    if not flag and word.startswith("--") and "=" in word:
        flag = word.partition("=")[0]
        before = len(flag) + 1
    if flag:
        kinds = options.get(flag, ["", None])[1] or ""
    elif word.startswith("-") and " " not in word:
        return _described({name: text for name, (text, _) in options.items()}, word)
    elif command["commands"]:
        return _described({} if arguments else command["commands"], word)
    else:
        kinds = dict(enumerate(command["arguments"])).get(len(arguments), command["more"])

    if kinds == "@stage":  # the end of a STAGE, whose quote is still open
        *parts, last = word.lstrip("'\"").split(" ")
        before, parts = len(word) - len(last), [part for part in parts if part]
        kinds = "" if parts == ["-n"] else "@function"
        if parts[:1] == ["-n"]:
            words, parts = [*words, *parts[:2]], parts[2:]
        if parts:
            kinds, function = "@keys=", parts[0]
    # `@keys=KIND`: a key with its `=`, behind which there is a KIND.
    if kinds.startswith("@keys=") and "=" in word[before:]:
        before = word.index("=", before) + 1
        kinds = kinds.removeprefix("@keys=").partition(" ")[0]
    how, found = "words", []
    for kind in kinds.split():
        if kind in ("@file", "@dir"):
            how = f"{kind[1:]}s"
        elif kind.startswith("@"):
            name = kind[1:].partition("=")[0]
            how = "words nospace" if name == "keys" else how
            found += _known(name, word[before:], function, words)
        elif kind.startswith(word[before:]):
            found.append(kind)
    return [f"{how} {before}", *found]


def _described(texts: dict[str, str], word: str) -> list[str]:
    return ["words 0", *(f"{name}\t{text}" for name, text in texts.items() if name.startswith(word))]


def _known(kind: str, prefix: str, function: str, words: list[str]) -> list[str]:
    """Of a kind what begins with the prefix, sorted. `words` hold `--url` and the like.

    Raises whatever reading it, or an engine's odd answer, raises.
    """
    from iii_cli.config.store import ContextStore, SavedRefs

    ours = "@" if kind == "ref" else ""
    if kind == "function":
        internal = {"include_internal": True} if prefix.startswith("engine") else {}
        rows = _ask(words, "engine::functions::list", {"prefix": prefix} | internal)["functions"]
        names = [str(row["function_id"]) for row in rows]
    elif kind == "worker":
        rows = _ask(words, "engine::workers::list", {})["workers"]
        names = [str(row["name"]) for row in rows if row.get("name")]
    elif kind == "keys":
        info = _ask(words, "engine::functions::info", {"function_id": function})
        names = [f"{key}=" for key in (info.get("request_schema") or info["request_format"])["properties"]]
    elif kind == "context":
        names = ContextStore().names()
    else:  # a REF is of use as long as nobody used it; `saved` is the bare name of any
        store = SavedRefs()
        saved = [each for each in store.ls()[0] if not ours or each.state(store.now()) == "unused"]
        names = [f"{ours}{each.name}" for each in saved]
    harmless = (each for each in names if HARMLESS.fullmatch(each.removeprefix(ours).rstrip("=")))
    return sorted({each for each in harmless if each.startswith(prefix)})


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
