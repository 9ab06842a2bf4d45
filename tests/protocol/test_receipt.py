"""The receipt: a writer believes only what matches."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_cli.errors import ContentDiffers, NotConfirmed
from iii_cli.protocol.seal import (
    STDOUT,
    Counter,
    Figures,
    Receipt,
    ReceiptBeat,
    read_receipt,
    receipt_beat_frame,
    receipt_frame,
)

FIGURES = Figures(3, "aa", 1, "bb")


COUNTS = st.integers(0, 2**63 - 1)


@given(st.builds(Figures, COUNTS, st.text(), COUNTS, st.text()), COUNTS, st.text())
def test_what_was_written_is_read(figures: Figures, code: int, reason: str) -> None:
    assert read_receipt(receipt_frame(True, figures)) == Receipt(True, figures)
    got = read_receipt(receipt_frame(False, figures, code, reason))
    assert isinstance(got, Receipt)
    assert (got.committed, got.figures, got.code) == (False, figures, code)


def test_the_frame_is_the_one_of_the_design() -> None:
    assert receipt_frame(True, FIGURES) == (
        b'{"iii":{"v":1,"receipt":{"committed":true,"bytes":3,"digest":"aa","messages":1,"messages_digest":"bb"}}}'
    )


@pytest.mark.parametrize("will_confirm", [True, False])
def test_a_beat_says_how_much_there_is(will_confirm: bool) -> None:
    frame = receipt_beat_frame(60, will_confirm=will_confirm)
    assert read_receipt(frame) == ReceiptBeat(60, will_confirm)
    more = b"" if will_confirm else b',"will_confirm":false'
    assert frame == b'{"iii":{"v":1,"receipt":{"beat":{"bytes":60%s}}}}' % more


def test_a_committed_receipt_has_no_reason() -> None:
    with pytest.raises(ValueError, match="committed"):
        receipt_frame(True, FIGURES, 0, None)


@pytest.mark.parametrize("field", ["bytes", "digest", "messages", "messages_digest"])
@pytest.mark.parametrize("receipt", [Receipt(True, FIGURES), Receipt(False, FIGURES, 0, STDOUT)])
def test_all_four_figures_count(field: str, receipt: Receipt) -> None:
    other = Figures.from_json({**FIGURES.to_json(), field: 99 if field in ("bytes", "messages") else "zz"})
    assert isinstance(receipt.failure(other), ContentDiffers)


def test_only_committed_is_a_success() -> None:
    assert Receipt(True, FIGURES).failure(FIGURES) is None
    pipe = Receipt(False, FIGURES, 0, STDOUT).failure(FIGURES)
    assert isinstance(pipe, NotConfirmed)
    assert "pipe" in str(pipe)
    failed = Receipt(False, Counter().figures, 10, "No space\x1b[2J left").failure(FIGURES)
    assert isinstance(failed, NotConfirmed)
    assert str(failed) == "the reader did not keep the data: No space [2J left (exit 10)"


GOOD = json.loads(receipt_frame(True, FIGURES))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"yes",
        b"[]",
        b'"iii"',
        b"\xff",
        b"[" * 9000,
        b'{"iii":{"v":2,"receipt":{}}}',
        b'{"iii":{"v":1,"receipt":[]}}',
        b'{"iii":{"v":1,"receipt":{"committed":true}}}',
        receipt_frame(True, FIGURES).replace(b"true", b"1"),
        receipt_frame(True, FIGURES).replace(b'"bytes":3', b'"bytes":-3'),
        receipt_frame(True, FIGURES).replace(b'"v":1', b'"v":2'),
        receipt_frame(True, FIGURES).replace(b'"v":1', b'"v":true'),
        receipt_frame(True, FIGURES)[:-1],
        json.dumps({**GOOD, "x": 1}).encode(),
    ],
)
def test_anything_else_confirms_nothing(payload: bytes) -> None:
    with pytest.raises(ContentDiffers, match="malformed"):
        read_receipt(payload)
