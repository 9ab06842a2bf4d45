"""A transcript of two hosts, `A$ …` and `B$ …`, as one bash script."""

from __future__ import annotations

import re

__all__ = ("script_of",)

LINE = re.compile(r"(?P<host>[AB])\$ (?P<command>.*?)(?: +# (?P<remark>.*))?")
ELIDED = "iii:read:…"
TOKEN = 'grep -o "iii:read:.*" ../said'


def script_of(transcript: str) -> str:
    """Each host has a home, A or B. A line remarked `meanwhile` runs beside the others and must end well,
    one remarked `stays` is left running. A token that is elided is the one that was printed before, and so is
    what a person shall `paste`.

    Raises ValueError for a line without a host.
    """
    return "\n".join(
        ["touch said; jobs=", *map(_step, transcript.splitlines()), "for job in $jobs; do wait $job; done"]
    )


def _step(line: str) -> str:
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"neither A$ nor B$: {line}")
    remark = match["remark"] or ""
    command = match["command"].replace(ELIDED, f'"$({TOKEN})"')
    command = f"{TOKEN} | {command}" if remark.startswith("paste") else command
    step = f"(cd {match['host']}; export HOME=$PWD; {command})"
    if remark == "stays":
        return f"{step} &"
    return f'{step} & jobs="${{jobs:-}} $!"' if remark == "meanwhile" else f"{step} | tee -a said"
