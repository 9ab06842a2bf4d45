"""`python -m iii_cli.commands.generate [FOLDER]`: write man/ and completions/ from the command tree.

They are committed, so that a package needs no running program to carry them; a test says when they are stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

from iii_cli.commands.shell.manual import man_pages
from iii_cli.commands.shell.reference import commands
from iii_cli.commands.shell.script_bash import bash_script
from iii_cli.commands.shell.script_fish import fish_script
from iii_cli.commands.shell.script_zsh import zsh_script

__all__ = ("SHELLS", "generated")

SHELLS = {"bash": ("iii.bash", bash_script), "zsh": ("_iii", zsh_script), "fish": ("iii.fish", fish_script)}


# The second name of the program: shells look for a file of that name.
ALIASES = {
    "completions/iii-cli.bash": '. "${BASH_SOURCE[0]%/*}/iii"\n',
    "completions/iii-cli.fish": "complete -c iii-cli -w iii\n",
    "man/iii-cli.1": ".so man1/iii.1\n",
}


def generated() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    tree = commands()
    scripts = {f"completions/{name}": write(tree) for name, write in SHELLS.values()}
    return scripts | ALIASES | {f"man/{name}": text for name, text in man_pages(tree).items()}


def _write(folder: Path) -> None:
    files = generated()
    for kept in ("man", "completions"):
        (folder / kept).mkdir(parents=True, exist_ok=True)
        for stale in (folder / kept).iterdir():
            if f"{kept}/{stale.name}" not in files:
                stale.unlink()
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
