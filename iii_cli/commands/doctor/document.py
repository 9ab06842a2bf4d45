"""`iii doctor --json`: one object. Keys may be added, never renamed; null is what is not known."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

import iii_cli
from iii_cli.errors import ExitStatus, NotAuthorised, gravest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.commands.doctor.checkup import Facts
    from iii_cli.config.store import FolderState
    from iii_cli.io.console import Finding

__all__ = ("document",)


def document(facts: Facts, found: Sequence[Finding]) -> dict[str, Any]:
    """The facts, and what was made of them. Never a token."""
    status = gravest(facts.failures).exit_status if facts.failures else ExitStatus.DONE
    limits = facts.limits
    return {
        "exit": int(status),
        "findings": [finding._asdict() for finding in found],
        "engine": _engine(facts),
        "auth": _auth(facts),
        "tls": _tls(facts),
        "namespace": _namespace(facts),
        "program": {
            "version": iii_cli.__version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
            "package": os.path.dirname(iii_cli.__file__),
        },
        "path": {
            "iii": [{"path": program.path, "ours": program.ours} for program in facts.programs],
            "iii-cli": facts.second_name,
        },
        "limits": {
            "open_files": limits.open_files,
            "open_files_max": limits.open_files_max,
            "file_bytes": limits.file_bytes,
            "pipe_bytes": limits.pipe_bytes,
        },
        "contexts": _folder(facts.contexts),
        "saved_refs": _folder(facts.refs),
        "completion": {"shell": facts.completion.shell, "path": facts.completion.path},
    }


def _engine(facts: Facts) -> dict[str, Any] | None:
    settings, engine = facts.settings, facts.engine
    if settings is None:
        return None
    latency, ahead = engine.latency, engine.clock_ahead
    return {
        "url": settings.endpoint.address.url,
        "source": settings.url_source,
        "reached": engine.failure is None,
        "error": None if engine.failure is None else engine.failure.message,
        "embedded": engine.embedded,
        "version": engine.version,
        "status": engine.status,
        "connect_ms": _ms(engine.connect_time),
        "latency_ms": _ms(latency),
        "round_trips": len(engine.round_trips),
        "clock_ahead_ms": None if ahead is None else round(ahead * 1000),
        "limits": engine.limits,
    }


def _auth(facts: Facts) -> dict[str, Any] | None:
    settings, engine = facts.settings, facts.engine
    if settings is None:
        return None
    accepted = None if engine.failure is not None else True
    return {
        "token_source": settings.token_source,
        "headers": [name for name, _ in settings.endpoint.headers],
        "accepted": False if isinstance(engine.failure, NotAuthorised) else accepted,
    }


def _tls(facts: Facts) -> dict[str, Any] | None:
    session = facts.engine.tls
    if session is None or facts.settings is None:
        return None
    return {
        "protocol": session.protocol,
        "cipher": session.cipher,
        "subject": session.subject,
        "issuer": session.issuer,
        "expires_at": session.expires_at,
        "ca_file": facts.settings.endpoint.tls.ca_file,
    }


def _namespace(facts: Facts) -> dict[str, Any] | None:
    settings = facts.settings
    if settings is None:
        return None
    return {"name": settings.namespace or "default", "source": settings.namespace_source}


def _folder(state: FolderState) -> dict[str, Any]:
    return {
        "folder": state.path,
        "exists": state.exists,
        "writable": state.writable,
        "names": state.names,
        "problems": [failure.message for failure in state.problems],
        "exposed": state.exposed,
    }


def _ms(span: float | None) -> float | None:
    return None if span is None else round(span * 1000, 3)
