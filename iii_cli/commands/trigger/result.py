"""Where the result of a call with streams goes, and what else is read from it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, final

from iii_cli.commands.outcome import rendered
from iii_cli.errors import ContentDiffers, Failure
from iii_cli.io.console import talk
from iii_cli.io.sinks import DescriptorSink, StdoutSink, open_output
from iii_cli.protocol.payload import MalformedPath, find, masked, show
from iii_cli.protocol.refs import ChannelRef, Direction, MalformedRef
from iii_cli.protocol.seal import is_count

if TYPE_CHECKING:
    from iii_cli.io.sinks import Sink
    from iii_cli.protocol.seal import is_count
from iii_cli.protocol.payload import KeyPath

__all__ = ("ResultDoor", "ref_in_result")


@final
class ResultDoor:
    """stdout, or stderr where stdout is a stream, or `--result FILE`."""

    def __init__(self, file: str | None, form: str, *, stdout_taken: bool) -> None:
        """Raises LocalProblem and UsageProblem."""
        self._form = form
        self._on_stderr = stdout_taken and file in (None, "-")
        self._file: Sink | None = None if file in (None, "-") else open_output(file)

    async def ready(self) -> None:
        """Open FILE. Raises LocalProblem."""
        if self._file is not None:
            await self._file.open()

    def dismiss(self) -> None:
        """Undo `ready`, where no result came."""
        if self._file is not None:
            self._file.discard()

    async def show(self, result: Any) -> None:
        """Print the result; nothing for null. Keys are masked on stderr. Raises LocalProblem."""
        if self._file is not None:
            await self._file.write(self._text(result, for_terminal=False))
            await self._file.finish()
        elif result is None:
            return
        elif not self._on_stderr:
            talk.draw()  # both may be the same terminal
            await StdoutSink().write(self._text(result, for_terminal=sys.stdout.isatty()))
        elif talk.as_json:
            talk.event("result", {"result": masked(result)})
        else:
            talk.draw()
            text = self._text(masked(result), for_terminal=sys.stderr.isatty())
            await DescriptorSink(2, name="standard error", owned=False).write(talk.new_line().encode() + text)

    def _text(self, result: Any, *, for_terminal: bool) -> bytes:
        return b"" if result is None else rendered(result, self._form, for_terminal=for_terminal).encode()


def ref_in_result(result: Any, path: KeyPath) -> tuple[ChannelRef, int | None]:
    """The reader ref at `path` of the result, and the number `size` beside it, if there is one.

    Raises Failure, ContentDiffers where that is no count.
    """
    try:
        ref = ChannelRef.from_json(find(result, path))
    except (MalformedPath, MalformedRef):
        raise Failure(f"the result has no ref at {show(path) or '.'}", where="peer") from None
    if ref.direction is not Direction.READ:
        raise Failure(f"the ref at {show(path) or '.'} of the result is a writer's", where="peer")
    size = find(result, path[:-1]).get("size") if path and isinstance(path[-1], str) else None
    if not isinstance(size, (int, float)) or isinstance(size, bool):
        return ref, None
    if not is_count(size):
        raise ContentDiffers("the size beside the ref in the result is not a count of bytes")
    return ref, size
