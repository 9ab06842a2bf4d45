"""The vectors beside docs/seal.md: what any implementation of the seal says of these streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from iii_cli.protocol.seal import Sealer
from iii_cli.protocol.verifier import Outcome, Verifier

ID = "0123456789abcdef" * 2
FILE = json.loads((Path(__file__).parents[2] / "docs" / "seal-vectors.json").read_text())
STREAMS = {vector["name"]: vector for vector in FILE["streams"]}
DIGEST = FILE["totals"]["digest"]
TOTALS: dict[str, Any] = {vector["name"]: vector for vector in FILE["totals"]["vectors"]}


@pytest.mark.parametrize("name", STREAMS)
def test_the_verdict_on_a_stream(name: str) -> None:
    vector: dict[str, Any] = STREAMS[name]
    verifier = Verifier(
        require_seal=vector.get("require_seal", False), allow_empty=vector.get("allow_empty", False)
    )
    delivered = []
    for index, (kind, payload) in enumerate(vector["frames"]):
        if kind == "binary":
            verifier.chunk(bytes.fromhex(payload))
        if not verifier.finished if kind == "binary" else verifier.text(payload.encode()):
            delivered.append(index)
    silent_for = 60.0 if vector["end"] == "silence" else None
    verdict = verifier.end(close_frame=vector["end"] == "close", silent_for=silent_for)
    failure = verdict.failure()
    assert (0 if failure is None else failure.exit_status) == vector["exit"]
    if failure is None:
        assert verdict.verified == vector["verified"]
    assert vector.get("reason", "") in verdict.text
    assert vector.get("delivered", delivered) == delivered
    assert to_builtins(verdict.figures) == vector.get("totals", to_builtins(verdict.figures))


# In mode `records` the borders of frames are data, and the seal covers them.


def feed(counter: Sealer | Verifier, frames: list[list[str]]) -> None:
    for kind, text in frames:
        if kind == "binary":
            counter.chunk(bytes.fromhex(text))
        elif isinstance(counter, Sealer):
            counter.message(text.encode())
        else:
            counter.text(text.encode())


def verdict_of(mode: str, frames: list[list[str]], promised: dict[str, Any]) -> Outcome:
    verifier = Verifier()
    for kind, body in (("open", {"mode": mode, "digest": DIGEST}), ("close", promised)):
        verifier.text(json.dumps({"iii": {"v": 1, "id": ID, kind: body}}).encode())
        if kind == "open":
            feed(verifier, frames)
    return verifier.end(close_frame=True).outcome


@pytest.mark.parametrize("name", TOTALS)
def test_the_writer_promises_what_the_vector_says(name: str) -> None:
    sealer = Sealer(ID, mode="records", digest=DIGEST)
    feed(sealer, TOTALS[name]["frames"])
    assert json.loads(sealer.close_frame())["iii"]["close"] == TOTALS[name]["records"]


@pytest.mark.parametrize("sent", TOTALS)
def test_only_the_same_frames_verify(sent: str) -> None:
    for promised, vector in TOTALS.items():
        outcome = verdict_of("records", TOTALS[sent]["frames"], vector["records"])
        assert outcome is (Outcome.VERIFIED if sent == promised else Outcome.DIFFERS), promised


@pytest.mark.parametrize("name", TOTALS)
def test_what_earlier_versions_wrote_is_read_by_their_rule(name: str) -> None:
    vector = TOTALS[name]
    assert verdict_of("jsonl", vector["frames"], vector["jsonl"]) is Outcome.VERIFIED
    assert verdict_of("jsonl", vector["frames"], vector["records"]) is Outcome.DIFFERS
