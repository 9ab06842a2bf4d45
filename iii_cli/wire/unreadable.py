"""An answer that cannot be read, and whose call it was: who waits for it must hear of it at once.

The engine reads no deeper than we do (strict_json), but it writes deeper: the tree of a long trace.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iii_cli.errors import Failure, FunctionFailed, PeerMisbehaved
from iii_cli.wire.fields import ErrorBody
from iii_cli.wire.messages import InvocationResult, MalformedMessage, decode

if TYPE_CHECKING:
    from iii_cli.wire.messages import Message

__all__ = ("failure_of", "read_message", "unreadable_answer")

CODE = "unreadable_answer"

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"(\s*+:)?|[{}\[\]]', re.DOTALL)
_UUID = re.compile(rb'"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"')


def read_message(payload: bytes) -> Message | None:
    """The message, or the answer that cannot be read as one that failed.

    None for anything else: the engine's next version may say more than we know.
    """
    try:
        return decode(payload)
    except MalformedMessage as fault:
        return unreadable_answer(payload, fault)


def unreadable_answer(payload: bytes, fault: MalformedMessage) -> InvocationResult | None:
    """The answer as one that failed; None for what is no answer, or does not say to which call."""
    fields = _top_strings(payload)
    invocation_id = _UUID.fullmatch(fields.get(b'"invocation_id"', b""))
    if fields.get(b'"type"') != b'"invocationresult"' or invocation_id is None:
        return None
    error = ErrorBody(CODE, f"the answer cannot be read: {fault}")
    return InvocationResult(invocation_id[1].decode().lower(), "", error=error)


def failure_of(error: ErrorBody) -> Failure:
    """What a caller raises for the error of an answer."""
    if error.code == CODE:
        return PeerMisbehaved(error.message)
    return FunctionFailed.of(error.code, error.message, error.stacktrace)


def _top_strings(payload: bytes) -> dict[bytes, bytes]:
    """The strings that are values of the outermost object, by their keys, both as they are written."""
    depth, key = 0, b""
    found: dict[bytes, bytes] = {}
    for token in _TOKEN.finditer(payload):
        text = token[0]
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and token[1] is not None:
            key = text[: -len(token[1])]
        elif depth == 1:
            found.setdefault(key, text)
            key = b""
    return found
