"""A Unix filter as a function: a COMMAND that runs once for each call, between two channels."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, final

import anyio

from iii_cli.client.call import new_stream_id
from iii_cli.client.channels import ChannelReader, ChannelWriter
from iii_cli.client.function import error_body
from iii_cli.client.transfer import abort_words, download, upload
from iii_cli.client.worker import BUSY
from iii_cli.errors import CommandFailed, Failure, FunctionFailed, TimedOut, sole_cause
from iii_cli.limits import limit
from iii_cli.protocol.json_text import MalformedJson, parse, render
from iii_cli.protocol.refs import ChannelRef, Direction, MalformedRef
from iii_cli.protocol.seal import Counter, Sealer, printable
from iii_cli.protocol.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from iii_cli.client.transfer import ByteSink, ByteSource
    from iii_cli.protocol.refs import Endpoint

__all__ = ("Filter", "Running")


RESULT_BYTES_MAX = 256 << 10  # escaped and repeated as JSON it still fits a Python SDK caller's 1 MiB
DRAIN_SECONDS = limit("drain", 60.0)  # of input that the command did not want, before the call fails
OUTPUT_BYTES = 64 << 10  # one read of a pipe


class Running(Protocol):
    """A COMMAND that runs for one call. `stdin` is None where it is not fed."""

    @property
    def name(self) -> str:
        """Its first word, for people."""

    @property
    def stdin(self) -> ByteSink | None: ...

    @property
    def stdout(self) -> ByteSource: ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""

    @property
    def stdin_bytes(self) -> int:
        """How much it, or its pipe, has taken."""

    @property
    def stderr_tail(self) -> str:
        """The last lines of what it said."""

    async def ended_well(self) -> None:
        """Wait for its end; raise where that was no good one. Cancelled, it runs on."""


@final
@dataclass(slots=True, eq=False)
class Filter:
    """The handler. Register it without live ends: it opens its own, as soon as the call arrives.

    `start` runs the COMMAND; left by an exception it stops the whole group, and closes its stdin only after
    that. `stdin`: from a ref, the payload as JSON, or nothing; `stdout`: to a ref, or into the result.
    `timeout`: seconds for one run; None: no limit.
    """

    endpoint: Endpoint
    start: Callable[[], AbstractAsyncContextManager[Running]]
    stdin: Literal["ref", "json", "none"] = "ref"
    stdout: Literal["ref", "result"] = "ref"
    require_seal: bool = False
    allow_empty: bool = False
    stop_early: bool = False
    max_parallel: int = 4
    max_waiting: int = 64  # each holds two sockets, and what their buffers hold
    timeout: float | None = None
    _turns: anyio.Semaphore = field(init=False)
    _waiting: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._turns = anyio.Semaphore(self.max_parallel)

    async def __call__(self, payload: Any) -> dict[str, Any]:
        """Answer one call: the facts of the run.

        Raises FunctionFailed, whose stacktrace is the facts as JSON. Cancelling stops the command.
        """
        run = _Run(self)
        has_turn = False

        async def take_turn() -> None:
            nonlocal has_turn
            await self._turns.acquire()
            has_turn = True

        try:
            run.take(payload)
            if self._waiting >= self.max_waiting + self._turns.value:
                text = (
                    f"{self.max_parallel} calls run at once and {self.max_waiting} more wait; try again later"
                )
                raise FunctionFailed(BUSY, text)
            self._waiting += 1
            try:
                await run.open_ends()
                await run.attended(take_turn)
            finally:
                self._waiting -= 1
            await run.command()
        except BaseException as error:
            cause = sole_cause(error)
            await run.give_up(cause)
            if not isinstance(cause, Exception):
                raise
            raise run.report(cause) from cause
        finally:
            if has_turn:
                self._turns.release()
        return run.result()


@final
class _Run:
    """One call, in the order of the methods."""

    def __init__(self, options: Filter) -> None:
        self._options = options
        self._began = anyio.current_time()
        self._reader: ChannelReader | None = None
        self._writer: ChannelWriter | None = None
        self._json = b""
        self._command: Running | None = None
        self._cause: Failure | None = None  # the first failure: the other half is cancelled because of it
        self._ended = anyio.Event()
        self._counter = Counter()
        self._output = bytearray()

    def take(self, payload: Any) -> None:
        """Find what the command reads and writes. Raises FunctionFailed `invalid_payload`."""
        options = self._options
        fields = payload if isinstance(payload, dict) else {}
        if options.stdout == "ref":
            ref = _ref_at(fields, "stdout", Direction.WRITE)
            self._writer = ChannelWriter(options.endpoint, ref, Sealer(new_stream_id()))
        if options.stdin == "ref":
            ref = _ref_at(fields, "stdin", Direction.READ)
            verifier = Verifier(
                require_seal=options.require_seal, allow_empty=options.allow_empty, expect="bytes"
            )
            self._reader = ChannelReader(options.endpoint, ref, verifier)
        elif options.stdin == "json":
            if self._writer is not None:  # its ref is a secret, and not for the command
                payload = {key: value for key, value in fields.items() if key != "stdout"}
            self._json = render(payload).encode() + b"\n"

    async def open_ends(self) -> None:
        """Connect at once: an end that waits unopened for too long expires. Raises as their `open`."""
        async with anyio.create_task_group() as tasks:
            for end in (self._reader, self._writer):
                if end is not None:
                    tasks.start_soon(end.open)

    async def attended(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait, with an eye on the output: its reader hears that we live, and may leave."""
        async with anyio.create_task_group() as tasks:
            if self._writer is not None:
                await tasks.start(self._writer.attend)
            await wait()
            tasks.cancel_scope.cancel()

    async def command(self) -> None:
        """Run the command to its end, and hand over all of its output. Raises what went wrong."""
        async with self._options.start() as command:
            self._command = command
            async with anyio.create_task_group() as limited:
                limited.start_soon(self._limit, command)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._noted, self._take_output, command)
                    await self._noted(self._feed, command)
                    self._ended.set()
                limited.cancel_scope.cancel()

    async def give_up(self, cause: BaseException) -> None:
        """Leave the input, and let nobody wait for the output. Bounded in time, also where cancelled."""
        if self._reader is not None:
            self._reader.leave()
        if self._writer is not None:
            await self._writer.give_up(*self._words(cause))

    def result(self) -> dict[str, Any]:
        """What the caller of a good run gets."""
        facts = self._facts()
        if self._options.stdout == "result":
            facts |= _as_fields(bytes(self._output))
        return facts

    def report(self, cause: Exception) -> FunctionFailed:
        """What the caller of any other run gets: an error body holds strings alone, so the facts are one."""
        body = error_body(cause)
        if not isinstance(cause, Failure):
            return FunctionFailed(body.code, body.message, body.stacktrace)
        message = body.message
        if isinstance(cause, TimedOut) and cause.hint:
            message = f"{message}; {cause.hint}"
        if isinstance(cause, CommandFailed) and self._command is not None:
            lines = self._command.stderr_tail.splitlines() or [""]
            message = f"{message}: {printable(lines[-1])}" if lines[-1] else message
        return FunctionFailed(body.code, message, render(self._facts()))

    # inside

    def _facts(self) -> dict[str, Any]:
        command, figures = self._command, self._counter.figures
        judged = self._reader.verdict if self._reader is not None else None  # None: not read to its end
        if self._writer is not None and self._writer.figures is not None:
            figures = self._writer.figures
        return {
            "exit_code": command.exit_code if command else None,
            "stdin_bytes": command.stdin_bytes if command else 0,
            "stdin_digest": None if judged is None else judged.figures.digest,
            "stdin_verified": judged is not None and judged.verified,
            "stdout_bytes": figures.bytes,
            "digest": figures.digest,
            "stderr_tail": command.stderr_tail if command else "",
            "duration_ms": round(1000 * (anyio.current_time() - self._began)),
        }

    async def _noted(self, half: Callable[[Running], Awaitable[None]], command: Running) -> None:
        try:
            await half(command)
        except BaseException as error:
            cause = sole_cause(error)
            if self._cause is None and isinstance(cause, Failure):
                self._cause = cause
            raise

    async def _feed(self, command: Running) -> None:
        """Give the command its input, and wait for its good end."""
        if self._reader is not None:
            assert command.stdin is not None
            await download(
                self._reader,
                command.stdin,
                consumer=command.ended_well,
                stop_early=self._options.stop_early,
                drain_limit=DRAIN_SECONDS,
            )
            return
        if command.stdin is not None:
            with suppress(BrokenPipeError):
                await command.stdin.write(self._json)
                command.stdin.judge(0, verified=True, count=len(self._json))
                await command.stdin.finish()
        await command.ended_well()

    async def _take_output(self, command: Running) -> None:
        if self._writer is None:
            await self._collect(command.stdout)
        else:
            # It is sealed only when the command has ended well and its input was whole.
            await upload([command.stdout], self._writer, check_end=self._ended.wait, words=self._words)

    async def _collect(self, source: ByteSource) -> None:
        buffer = memoryview(bytearray(OUTPUT_BYTES))
        while count := await source.read_into(buffer):
            self._counter.chunk(buffer[:count])
            self._output += buffer[:count]
            if len(self._output) > RESULT_BYTES_MAX:
                raise FunctionFailed(
                    "output_too_large",
                    f"the output has more than {RESULT_BYTES_MAX} bytes, too many for a result",
                )

    async def _limit(self, command: Running) -> None:
        timeout = self._options.timeout
        if timeout is not None:
            await anyio.sleep(timeout)
            self._cause = TimedOut(f"{command.name} took longer than {timeout:g} s (--timeout)")
            raise self._cause

    def _words(self, cause: BaseException) -> tuple[int, str]:
        """For the abort frame."""
        if isinstance(cause, Exception):
            return abort_words(cause)
        return abort_words(self._cause) if self._cause else (1, "the call was stopped")


def _ref_at(fields: dict[str, Any], key: str, direction: Direction) -> ChannelRef:
    with suppress(MalformedRef):
        ref = ChannelRef.from_json(fields.get(key))
        if ref.direction is direction:
            return ref
    raise FunctionFailed(
        "invalid_payload", f"`{key}` in the payload must be the {direction.noun} ref of a channel"
    )


def _as_fields(output: bytes) -> dict[str, Any]:
    """The output in a result: as text where it is text, and as a value where it is JSON."""
    try:
        fields: dict[str, Any] = {"stdout": output.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"stdout_base64": b64encode(output).decode()}
    with suppress(MalformedJson):
        fields["json"] = parse(output)
    return fields
