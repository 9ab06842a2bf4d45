"""The rules of `iii doctor`: what is found out, and what is made of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import iii_cli
from iii_cli.client.checkup import EngineFacts
from iii_cli.commands.doctor.checkup import Facts
from iii_cli.commands.doctor.document import document
from iii_cli.commands.doctor.findings import findings
from iii_cli.config.settings import Settings
from iii_cli.errors import EngineUnreachable, NotAuthorised
from iii_cli.io.descriptors import SystemLimits
from iii_cli.net.blocking import TlsSession
from iii_cli.protocol.refs import Endpoint, EngineAddress, Secret

if TYPE_CHECKING:
    from iii_cli.io.console import Finding


def facts(url: str = "ws://localhost:1", **engine: Any) -> Facts:
    endpoint = Endpoint(EngineAddress.parse(url), token=Secret("sk-hunter2"))
    settings = Settings(endpoint, "III_URL", token_source="III_TOKEN")
    well = {"version": iii_cli.__version__, "status": "healthy", "embedded": True, "round_trips": [0.001]}
    return Facts(settings=settings, engine=EngineFacts(**well | engine))  # type: ignore[arg-type]


def finding(found: Facts, check: str) -> Finding:
    every = findings(found)
    assert all(each.advice for each in every if each.level != "ok")
    assert "hunter2" not in str(every) + str(document(found, every))
    return next(each for each in every if each.check == check and each.level != "ok")


def test_all_is_well() -> None:
    assert {
        each.level for each in findings(facts()) if each.check not in ("path", "contexts", "saved refs")
    } == {"ok"}


@pytest.mark.parametrize(
    ("engine", "check", "level", "said"),
    [
        ({"round_trips": [0.3, 0.4, 0.5]}, "latency", "note", "400 ms"),
        ({"round_trips": []}, "latency", "warning", "pings"),
        ({"clock_ahead": -65.0}, "clock", "warning", "behind ours"),
        ({"limits": {"open_channels": 95, "max_channels": 100}}, "channels", "warning", "95 of 100"),
        ({"status": "degraded"}, "health", "warning", "degraded"),
        ({"version": "0.0.9"}, "engine", "note", iii_cli.__version__),
        ({"version": None, "health_failure": "FORBIDDEN"}, "engine", "note", "FORBIDDEN"),
        ({"failure": EngineUnreachable("no engine")}, "engine", "problem", "III_URL"),
        ({"failure": NotAuthorised("no entry")}, "auth", "problem", "III_TOKEN"),
    ],
)
def test_what_is_not_fine_of_an_engine(engine: dict[str, Any], check: str, level: str, said: str) -> None:
    found = finding(facts(**engine), check)
    assert found.level == level
    assert said in found.found


def test_a_certificate_that_ends_soon_is_a_warning() -> None:
    def session(days: float) -> TlsSession:
        return TlsSession("TLSv1.3", "AES", "engine", "authority", time.time() + days * 86_400)

    assert "good for 3 days" in finding(facts("wss://engine.example", tls=session(3.1)), "tls").found
    well = findings(facts("wss://engine.example", tls=session(90)))
    assert [each.level for each in well if each.check == "tls"] == ["ok"]


def test_plain_text_to_another_machine_is_noted() -> None:
    assert finding(facts("ws://engine.example"), "tls").level == "note"


@pytest.mark.parametrize(
    ("limits", "check"),
    [
        (SystemLimits(open_files=64, open_files_max=4096), "open files"),
        (SystemLimits(file_bytes=4096), "file size"),
        (SystemLimits(pipe_bytes=65_536), "pipes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tight_limits(limits: SystemLimits, check: str) -> None:
    tight = facts()
    tight.limits = limits
    assert finding(tight, check).level in ("note", "warning")


def test_a_probe_that_hangs_is_a_problem() -> None:
    hung = facts()
    hung.late = ["saved refs"]
    assert any(each.level == "problem" and each.check == "saved refs" for each in findings(hung))
