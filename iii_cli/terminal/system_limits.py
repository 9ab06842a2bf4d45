"""What the system allows this process: descriptors, file sizes, pipes."""

from __future__ import annotations

from iii_cli.wire.value import Value

__all__ = ("SystemLimits", "allow_open_files", "system_limits")


class SystemLimits(Value):
    """None: no limit, or none that this system tells."""

    open_files: int | None = None  # `ulimit -n`
    open_files_max: int | None = None  # what it can be raised to
    file_bytes: int | None = None  # `ulimit -f`
    pipe_bytes: int | None = None  # what a pipe can be grown to: fs.pipe-max-size


def system_limits() -> SystemLimits:
    """The limits of this process. Raises nothing."""
    pipe_bytes = _pipe_max()
    try:
        import resource
    except ImportError:  # Windows has none of them
        return SystemLimits(pipe_bytes=pipe_bytes)

    def told(limit: int) -> int | None:
        return None if limit == resource.RLIM_INFINITY else limit

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return SystemLimits(told(soft), told(hard), told(size), pipe_bytes)


def allow_open_files(wanted: int) -> int | None:
    """Raise `ulimit -n` to `wanted`, or as far as it may be: what it is then, None where there is no
    limit.
    """
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):
            return soft
        return most
    return soft


def _pipe_max() -> int | None:
    try:
        with open("/proc/sys/fs/pipe-max-size", encoding="ascii") as file:  # Linux
            return int(file.read(32))
    except (OSError, ValueError):
        return None
