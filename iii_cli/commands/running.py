"""The bridge from a command to an event loop, and what every command begins with."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from iii_cli.config.settings import GlobalFlags, Settings, resolve
from iii_cli.errors import Interrupted, sole_cause
from iii_cli.io.console import talk
from iii_cli.io.signals import heard, withhold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import typer

    from iii_cli.protocol.refs import TlsFiles

__all__ = ("flags_of", "run", "settings_of", "stop_at_once", "tell")

T = TypeVar("T")


def flags_of(ctx: typer.Context) -> GlobalFlags:
    """The global options of this command line."""
    return ctx.obj if isinstance(ctx.obj, GlobalFlags) else GlobalFlags()


def settings_of(
    ctx: typer.Context, *, engine_url: str | None = None, engine_tls: TlsFiles | None = None
) -> Settings:
    """Settle all settings, once a command, and say what is worth a warning.

    `engine_url` and `engine_tls` are what a saved ref remembers. Raises UsageProblem and LocalProblem.
    """
    from iii_cli.config.store import ContextStore

    settings = resolve(
        flags_of(ctx), os.environ, ContextStore(), engine_url=engine_url, engine_tls=engine_tls
    )
    if settings.token_variable is not None:
        withhold(settings.token_variable)
    for notice in settings.notices:
        tell(notice)
    return settings


def tell(text: str) -> None:
    """One line for a person, on stderr, unless `-q` was given."""
    talk.notice(text)


def run(body: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async command body on a fresh event loop.

    The signals that end us cancel the body, whose cleanup runs, and end as Interrupted; a second one ends the
    process at once. Of several failures the gravest is raised (design.md section 5); BrokenPipeError
    stays itself.
    """
    with _signals_held() as let_go:
        import anyio

        from iii_cli.net.sockets import new_loop

        try:
            return anyio.run(_until_signalled, body, args, let_go, backend_options={"loop_factory": new_loop})
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None


@contextmanager
def _signals_held() -> Iterator[Callable[[], None]]:
    """Keep signals that end us until they are let go, once somebody listens, or until the end.

    One that came amid the loading of a module could make a RuntimeError of it, and one amid the start of the
    event loop be lost.
    """
    change = getattr(signal, "pthread_sigmask", None)
    if change is None:  # Windows
        yield lambda: None
        return
    before = change(signal.SIG_BLOCK, heard())

    def let_go() -> None:
        change(signal.SIG_SETMASK, before)

    try:
        yield let_go
    finally:
        let_go()


async def _until_signalled(
    body: Callable[..., Awaitable[T]], args: tuple[Any, ...], listening: Callable[[], None]
) -> T:
    import anyio

    stopped: list[int] = []
    done = False
    result: list[T] = []

    async def listen(scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*heard()) as signals:
            listening()
            task_status.started()
            async for signum in signals:
                if stopped:
                    stop_at_once(signum)
                stopped.append(signum)
                _say_stopped(signum)
                scope.cancel()

    async with anyio.create_task_group() as listeners:
        with anyio.CancelScope() as scope:
            await listeners.start(listen, scope)
            result.append(await body(*args))
            done = True
        listeners.cancel_scope.cancel()
    if stopped and not done:
        raise Interrupted(stopped[0])
    return result[0]


def stop_at_once(signum: int) -> NoReturn:
    """End without any clean-up, but leave no COMMAND, not even one that ignores SIGTERM, and no file."""
    from iii_cli.io.process import kill_children
    from iii_cli.io.sinks import discard_unfinished

    kill_children()
    discard_unfinished()
    os._exit(128 + signum)


def _say_stopped(signum: int) -> None:
    """At once, because the cleanup may take its two seconds."""
    if signum == signal.SIGINT:
        tell("interrupted; ending (once more to stop at once)")
    else:
        tell(f"{signal.Signals(signum).name} received; ending")
