"""The single door for what is said on stderr: lines for people, or JSON events for programs.

`--progress json` makes every line an object with `event`: progress, notice, error, and last of all done.
Light: every command may have to say something before anything heavy is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from iii_cli.errors import Failure, FunctionFailed
from iii_cli.terminal.drawing import Drawing
from iii_cli.terminal.stderr import Stderr
from iii_cli.terminal.text import clean, escape_json, mask_refs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Talk", "talk")

PREFIX = "iii: "


@final
class Talk:
    """Nothing here raises, and nothing waits for a reader of stderr for longer than a second.

    `facts` are the fields of the last event: bytes, digest, verified, seconds.
    """

    def __init__(self, stderr: Stderr | None = None) -> None:
        self.stderr = Stderr() if stderr is None else stderr
        self.quiet = False
        self.as_json = False
        self.facts: dict[str, Any] = {}
        self._drawing = Drawing(self.stderr)
        self._amid_a_line = False  # data on the terminal

    @property
    def room(self) -> int:
        """Columns of the terminal that one line of ours has."""
        return self.stderr.columns - len(PREFIX)

    def configure(self, *, quiet: bool | None = None, as_json: bool | None = None) -> None:
        """`-q` and `--progress json`. What is None stays as it is."""
        self.quiet = self.quiet if quiet is None else quiet
        self.as_json = self.as_json if as_json is None else as_json

    def notice(self, text: str) -> None:
        """One line for a person, unless it wants quiet. The text may be a stranger's: it is cleaned."""
        if not self.quiet:
            self.tell(text)

    def tell(self, text: str) -> None:
        """One line for a person that even `-q` does not silence."""
        text = clean(text)
        if self.as_json:
            self.event("notice", {"message": text})
        else:
            self._line(f"{PREFIX}{text}")

    def problem(self, failure: Failure) -> None:
        """What went wrong: one line. A failed function as the engine's own CLI shows it (protocol.md 8.2)."""
        if self.as_json:
            self.event("error", _error_fields(failure))
        elif isinstance(failure, FunctionFailed):
            import json

            body = escape_json(json.dumps(failure.body(), indent=2, ensure_ascii=False))
            self._line(f"Error: {body}" + (f"\niii: {clean(failure.hint)}" if failure.hint else ""))
        else:
            self._line(f"{PREFIX}{clean(str(failure))}")

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """One JSON object on one line. Only where `as_json` was asked for."""
        import json

        document = json.dumps({"event": name, **fields}, ensure_ascii=False, separators=(",", ":"))
        self._line(escape_json(document))

    def done(self, exit_status: int) -> None:
        """Say the last thing: in JSON mode the last event, else what is left of the backlog."""
        self.draw()
        if self.as_json:
            nothing = dict.fromkeys(("bytes", "digest", "verified", "seconds"))
            self.event("done", {"exit": int(exit_status), **nothing, **self.facts})
        self.stderr.drain()

    def draw(self, *lines: str) -> None:
        """Keep `lines` as the last ones of the terminal, in place of those before; none takes them away.

        Skipped while the terminal is behind: the next drawing will do.
        """
        if not lines or self.stderr.is_idle:
            self.stderr.write(self._drawing.replace(lines))

    def data_was_shown(self, last: bytes) -> None:
        """Data went to the terminal, and ended with that byte, if any came at all."""
        self._amid_a_line = last != b"\n" if last else self._amid_a_line

    def new_line(self) -> str:
        """What brings the terminal to the start of a line, once, where data left it amid one."""
        amid, self._amid_a_line = self._amid_a_line, False
        return "\n" if amid and self.stderr.is_terminal else ""

    def _line(self, text: str) -> None:
        self.stderr.write(self.new_line() + self._drawing.around(f"{mask_refs(text)}\n"))


talk = Talk()
"""The one of this process."""


def _error_fields(failure: Failure) -> dict[str, Any]:
    return {
        "message": clean(failure.message),
        "hint": None if failure.hint is None else clean(failure.hint),
        "where": failure.where,
        "exit": int(failure.exit_status),
    }
