"""What is written from the command tree: man pages, and the words that a TAB completes.

    python -m iii_cli.commands.manual [FOLDER]      writes man/ and iii_cli/commands/words.json

They are committed, so that a package needs no running program to carry them; a test says when they are stale.
Typer's signatures are the one place where commands and options are described.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from iii_cli.commands.common import PassthroughCommand
from iii_cli.commands.help import TOPICS, topic_text
from iii_cli.commands.root import TREE, app
from iii_cli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ("generated",)

DATE = "2026-11-22"  # of this version, never of the day: a page that is generated anew is the same

# What stands for a value: words, and `@…`, a kind of name that the machine or the engine knows. Behind
# `@keys=` there are the kinds for what follows a KEY=.
_BY_METAVAR = {
    "FILE": "@file",
    "DIR": "@dir",
    "REF": "@ref",
    "FUNCTION": "@function",
    "STAGE": "@stage",
    "CONTEXT": "@context",
    "[KEY=]SOURCE": "@keys=@file @file",
    "[KEY=]TARGET": "@keys=@file @file",
    "KEY=REF": "@keys=@ref",
    "KEY=VALUE": "@keys=",
}
# A NAME is the name of something else everywhere.
_BY_PLACE = {
    "--context": "@context",
    "--worker": "@worker",
    "context use name": "@context",
    "context show name": "@context",
    "context rm names": "@context",
    "ref show name": "@saved",
    "ref rm names": "@saved",
    "workers info name": "@worker",
    "workers ls --runtime": "python node rust go engine",
    "help words": " ".join([*TOPICS, *(word for word, (_, line) in TREE.items() if line)]),
}


def generated() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    root = typer.main.get_command(app)
    tree = list(_walk(root, typer.Context(root, info_name="iii", help_option_names=["-h", "--help"])))
    names = [context.command_path for _, context in tree]
    return {
        "iii_cli/commands/words.json": _words(tree),
        "man/iii-cli.1": ".so man1/iii.1\n",
        **{f"man/{_page_name(name)}.1": _page(*each, names) for name, each in zip(names, tree, strict=True)},
    }


def _walk(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """Every command that is not hidden, groups before what is in them, each with its context."""
    yield command, context
    for child in _children(command, context):
        yield from _walk(child, type(context)(child, info_name=child.name, parent=context))


def _children(command: Any, context: Any) -> list[Any]:
    words = command.list_commands(context) if hasattr(command, "list_commands") else ()
    return [child for word in words if not (child := command.get_command(context, word)).hidden]


def _parameters(command: Any, context: Any, kind: str) -> list[Any]:
    """Its options or its arguments, without those that are hidden."""
    every = [each for each in command.get_params(context) if each.param_type_name == kind]
    return [each for each in every if not each.hidden]


def _paragraphs(command: Any) -> list[str]:
    """The help in front of the examples, a paragraph each, unwrapped."""
    return [" ".join(part.split()) for part in command.help.split("\f")[0].split("\n\n") if part.strip()]


# What completion.py reads: each command by its path, a line each.


def _words(tree: list[tuple[Any, Any]]) -> str:
    lines = []
    for command, context in tree:
        path = context.command_path.partition(" ")[2]
        arguments = _parameters(command, context, "argument")
        entry = {
            "commands": {child.name: _paragraphs(child)[0] for child in _children(command, context)},
            "options": {
                flag: [option.help, None if option.is_flag else _values(option, path)]
                for option in _parameters(command, context, "option")
                for flag in (*sorted(option.opts, key=len), *option.secondary_opts)
            },
            "arguments": [_values(argument, path) for argument in arguments if argument.nargs != -1],
            # What can be given any number of times, at the end.
            "more": "".join(_values(argument, path) for argument in arguments if argument.nargs == -1),
            "passthrough": isinstance(command, PassthroughCommand),  # a COMMAND may stand behind `--`
        }
        lines.append(f"{json.dumps(path)}: {json.dumps(entry, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _values(parameter: Any, path: str) -> str:
    """The words and kinds that can be given for a parameter of the command at `path`."""
    name = parameter.opts[-1]  # of an argument: its name in the signature
    if values := _BY_PLACE.get(f"{path} {name}") or _BY_PLACE.get(name):
        return values
    metavar = re.sub(r"^\[(.*?)\](\.\.\.)?$", r"\1", parameter.metavar).removesuffix("...")
    if metavar in _BY_METAVAR:
        return _BY_METAVAR[metavar]
    words = metavar.split("|")
    known = [_BY_METAVAR.get(word, word if word.islower() or "_" in word else "") for word in words]
    return " ".join(filter(None, known)) if len(words) > 1 else ""


# The man pages, in man(7) macros that groff and mandoc both take.

_SPECIAL = str.maketrans(
    {"\\": r"\e", "-": r"\-", "`": r"\(ga", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
)
_EVERYWHERE = "Global options, which may stand anywhere up to `--`, are in `iii`(1)."
_EXIT_STATUS = (
    "0 when it is done; otherwise a line on standard error says what failed, where, and what to do next. The "
    "codes are in `iii`(1)."
)
_FILES = """\
~/.config/iii-cli/contexts/
        contexts, a 0600 file each; $XDG_CONFIG_HOME moves it
~/.local/state/iii-cli/refs/
        saved refs, a 0600 file each; $XDG_STATE_HOME moves it"""


def _page_name(command_path: str) -> str:
    return command_path.replace(" ", "-")


def _page(command: Any, context: Any, names: list[str]) -> str:
    path = context.command_path
    name = _page_name(path)
    line, *_ = paragraphs = _paragraphs(command)
    usage = " ".join(command.collect_usage_pieces(context))
    children = [(_page_name(f"{path} {c.name}"), _paragraphs(c)[0]) for c in _children(command, context)]
    examples = textwrap.dedent((command.epilog or "").partition("Examples:\n")[2])
    # The group that it is in, and what else is in there.
    above = path.rpartition(" ")[0] or path
    others = [other for other in names if above in (other, other.rpartition(" ")[0]) and other != path]
    sections = {
        "NAME": _prose(f"{name} - {line.rstrip('.')}"),
        "SYNOPSIS": f"\\fB{_text(path)}\\fP {_text(usage)}",
        "DESCRIPTION": "\n.PP\n".join(map(_prose, paragraphs)),
        "ARGUMENTS": _items(p.get_help_record(context) for p in _parameters(command, context, "argument")),
        "COMMANDS": _items(children),
        "OPTIONS": _items(p.get_help_record(context) for p in _parameters(command, context, "option")),
    }
    if context.parent is None:
        sections |= {
            "EXIT STATUS": _topic("exit-codes"),
            "ENVIRONMENT": _topic("environment"),
            "FILES": _verbatim(_FILES),
            "REFS": _topic("refs"),
            "SEALS": _topic("seals"),
        }
    else:
        sections["OPTIONS"] += f"\n.PP\n{_prose(_EVERYWHERE)}"
        sections["EXIT STATUS"] = _prose(_EXIT_STATUS)
    sections["EXAMPLES"] = _verbatim(examples) if examples else ""
    sections["SEE ALSO"] = " ,\n".join(f".BR {_text(_page_name(other))} (1)" for other in sorted(others))
    head = f"""\
.\\" Generated from the command tree by python -m iii_cli.commands.manual.
.TH {name.upper()} 1 "{DATE}" "iii {__version__}" "iii manual"
"""
    return head + "".join(f".SH {title}\n{body}\n" for title, body in sections.items() if body)


def _items(records: Iterable[tuple[str, str]]) -> str:
    """A list of options, arguments or commands, as click's help has it: what is typed, and what it is for."""
    items = []
    for term, text in records:
        # What is typed as it stands, then what stands for a value.
        marked = re.sub(r"((?:(?:\\-|iii)\S+ ?(?:/ )?)*)(.*)", r"\\fB\1\\fI\2\\fP", _text(term), count=1)
        items.append(f".TP\n{marked}\n{_prose(text)}")
    return "\n".join(items)


def _topic(name: str) -> str:
    return f".in 0\n{_verbatim(topic_text(name))}"


def _verbatim(text: str) -> str:
    return f".EX\n{_text(text.rstrip())}\n.EE"


def _prose(text: str) -> str:
    """Words in backquotes are what people type."""
    lines = textwrap.wrap(_text(text), 78, break_long_words=False, break_on_hyphens=False)
    return re.sub(r"\\\(ga(.*?)\\\(ga", r"\\fB\1\\fP", "\n".join(lines), flags=re.DOTALL)


def _text(text: str) -> str:
    """Nothing that roff takes for a request or for another character, and ASCII alone."""
    safe = re.sub(r"(?<!\S)\.", r"\\&.", text.translate(_SPECIAL))  # a line may be broken before it
    return re.sub(r"[^\x00-\x7f]", lambda match: f"\\[u{ord(match[0]):04X}]", safe)


def _write(folder: Path) -> None:
    files = generated()
    for stale in (folder / "man").glob("*.1"):
        stale.unlink()
    (folder / "man").mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
