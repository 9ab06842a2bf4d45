"""What a COMMAND of ours gets of our environment: everything but who we are to the engine.

What handles the data need not be able to call functions. III_TOKEN_FILE and contexts stay: they hold no
token, and a COMMAND that may read the files may read them anyway.

The state of this module is that of the process, as the environment is.
"""

from __future__ import annotations

import os

from iii_cli.wire.address import without_secrets

__all__ = ("inherited", "pass_token_on", "withhold")

_withheld = {"III_TOKEN"}
_passed_on = False


def withhold(variable: str) -> None:
    """Another variable that holds a token: a context names it."""
    _withheld.add(variable)


def pass_token_on() -> None:
    """`--pass-token`: COMMANDs get everything."""
    global _passed_on
    _passed_on = True


def inherited() -> dict[str, str]:
    """The environment of a COMMAND."""
    env = dict(os.environ)
    if not _passed_on:
        for variable in _withheld:
            env.pop(variable, None)
        if "III_URL" in env:
            env["III_URL"] = without_secrets(env["III_URL"])
    return env
