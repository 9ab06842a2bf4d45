"""docs/seal-vectors.json against the modules: each says the same of every stream."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from iii_seal import Counter, Verifier

from tests.seals.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

VECTORS = ROOT / "docs" / "seal-vectors.json"
FILE = json.loads(VECTORS.read_text())


def compare(said: dict[str, Any]) -> None:
    for vector, got in zip(FILE["streams"], said["streams"], strict=True):
        name = vector["name"]
        assert (name, got["exit"]) == (name, vector["exit"])
        assert got["verified"] == vector.get("verified", False), name
        assert vector.get("reason", "") in got["text"], name
        assert got["delivered"] == vector.get("delivered", got["delivered"]), name
        assert got["totals"] == vector.get("totals", got["totals"]), name
    for vector, got in zip(FILE["totals"]["vectors"], said["totals"], strict=True):
        assert got == {mode: vector[mode] for mode in ("records", "jsonl")}, vector["name"]


def test_python() -> None:
    said: dict[str, Any] = {"streams": [], "totals": []}
    for vector in FILE["streams"]:
        verifier = Verifier(
            accept_unsealed=not vector.get("require_seal", False),
            allow_empty=vector.get("allow_empty", False),
        )
        delivered = [
            index
            for index, (kind, payload) in enumerate(vector["frames"])
            if (verifier.chunk(bytes.fromhex(payload)) if kind == "binary" else verifier.message(payload))
        ]
        silent_for = 60.0 if vector["end"] == "silence" else None
        failure = verifier.failure(close_frame=vector["end"] == "close", silent_for=silent_for)
        said["streams"].append(
            {
                "exit": 0 if failure is None else failure.exit_status,
                "text": str(failure or ""),
                "verified": verifier.verified,
                "delivered": delivered,
                "totals": verifier.counter.totals,
            }
        )
    for vector in FILE["totals"]["vectors"]:
        said["totals"].append({})
        for mode in ("records", "jsonl"):
            counter = Counter(FILE["totals"]["digest"], records=mode == "records")
            for kind, payload in vector["frames"]:
                if kind == "binary":
                    counter.chunk(bytes.fromhex(payload))
                else:
                    counter.message(payload.encode())
            said["totals"][-1][mode] = counter.totals
    compare(said)


@pytest.mark.ci
@pytest.mark.timeout(300)
def test_node(node_folder: Path) -> None:
    done = subprocess.run(
        ["node", str(node_folder / "vectors.mjs"), str(VECTORS)], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    compare(json.loads(done.stdout))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_rust(rust_worker: Path) -> None:
    done = subprocess.run([rust_worker.with_name("vectors"), VECTORS], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    compare(json.loads(done.stdout))
