"""Mode `records`: the borders of frames are data, and the seal covers them. Its vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iii_cli.protocol.seal import Close, Figures, Open, Sealer, SealFrame, encode
from iii_cli.protocol.verifier import Outcome, Verifier

ID = "0123456789abcdef" * 2
FILE = json.loads((Path(__file__).parents[2] / "docs" / "seal-vectors.json").read_text())["totals"]
VECTORS: dict[str, Any] = {vector["name"]: vector for vector in FILE["vectors"]}


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
    opened = {"mode": mode, "digest": FILE["digest"]}
    verifier.text(encode(SealFrame(ID, Open.from_json(opened))))
    feed(verifier, frames)
    verifier.text(encode(SealFrame(ID, Close(Figures.from_json(promised)))))
    return verifier.end(close_frame=True).outcome


@pytest.mark.parametrize("name", VECTORS)
def test_the_writer_promises_what_the_vector_says(name: str) -> None:
    vector = VECTORS[name]
    sealer = Sealer(ID, mode="records", digest=FILE["digest"])
    feed(sealer, vector["frames"])
    close = json.loads(sealer.close_frame())["iii"]["close"]
    assert close == vector["records"]


@pytest.mark.parametrize("promised", VECTORS)
@pytest.mark.parametrize("sent", VECTORS)
def test_only_the_same_frames_verify(sent: str, promised: str) -> None:
    outcome = verdict_of("records", VECTORS[sent]["frames"], VECTORS[promised]["records"])
    assert outcome is (Outcome.VERIFIED if sent == promised else Outcome.DIFFERS)


@pytest.mark.parametrize("name", VECTORS)
def test_what_earlier_versions_wrote_is_read_by_their_rule(name: str) -> None:
    vector = VECTORS[name]
    assert verdict_of("jsonl", vector["frames"], vector["jsonl"]) is Outcome.VERIFIED
    assert verdict_of("jsonl", vector["frames"], vector["records"]) is Outcome.DIFFERS


def test_the_old_mode_is_never_written() -> None:
    with pytest.raises(ValueError, match="never written"):
        Sealer(ID, mode="jsonl")
    with pytest.raises(ValueError, match="never written"):
        Sealer(ID).declare("jsonl")
