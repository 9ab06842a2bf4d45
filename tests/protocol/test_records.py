"""Lines and frames: nothing is lost, and what cannot be sent is named."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.protocol.records import (
    LineSplitter,
    Record,
    chunk_to_jsonl,
    follow,
    jsonl_to_record,
    message_notice,
    messages_to_data,
)
from iii_cli.protocol.seal import Mode


def split(chunks: list[bytes]) -> list[bytes]:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    lines += splitter.finish()
    assert splitter.finish() == []
    assert splitter.count == len(lines)
    return lines


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.text(alphabet="ab\r\n\x00é€😀\u2028\x85", max_size=60), st.lists(st.integers(0)))
def test_lines_come_out_whole_however_the_input_is_cut(text: str, places: list[int]) -> None:
    data = text.encode()
    lines = split(cut(data, places))
    assert lines == (data.split(b"\n")[:-1] if data.endswith(b"\n") or not data else data.split(b"\n"))
    back = messages_to_data(Mode.LINES, lines)
    assert back == (data if data.endswith(b"\n") or not data else data + b"\n")
    assert messages_to_data(Mode.TEXT, lines) == b"".join(lines)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"\n\n", [b"", b""]),
        (b"a", [b"a"]),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
    ],
)
def test_empty_lines_crlf_and_the_last_line(data: bytes, lines: list[bytes]) -> None:
    assert split([data]) == lines
    assert split([data[i : i + 1] for i in range(len(data))]) == lines


def test_views_of_a_buffer_that_is_used_again() -> None:
    splitter, buffer = LineSplitter(), bytearray(b"one\ntw")
    first = splitter.feed(memoryview(buffer))
    buffer[:] = b"o\nthre"
    assert first + splitter.feed(buffer) == [b"one", b"two"]
    assert splitter.finish() == [b"thre"]


@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize("end", [b"\nmore\n", b""])
def test_a_line_that_is_not_utf8_is_named(step: int, end: bytes) -> None:
    data = "fine é\n\nbäd ".encode() + b"\xe9" + end
    with pytest.raises(LocalProblem, match=r"orders\.txt: line 3 is not UTF-8 \(at its byte 6\)"):
        split_named(data, step)


def split_named(data: bytes, step: int) -> None:
    splitter = LineSplitter(what="orders.txt")
    for start in range(0, len(data), step):
        splitter.feed(data[start : start + step])
    splitter.finish()


@pytest.mark.parametrize(
    "chunks", [[b"ok\nfi", b"ve\n1234", b"56"], [b"ok\nfive\n123456\n"], [b"ok\n\n123456"]]
)
def test_a_line_that_is_too_long_is_named(chunks: list[bytes]) -> None:
    splitter = LineSplitter(longest=5)
    with pytest.raises(LocalProblem, match="line 3 is longer than 5 bytes"):
        list(map(splitter.feed, chunks))


@given(st.booleans(), st.binary(max_size=50), st.text(max_size=50))
def test_jsonl_there_and_back(is_text: bool, data: bytes, text: str) -> None:
    record = Record(True, text.encode()) if is_text else Record(False, data)
    line = messages_to_data(Mode.RECORDS, [record.payload]) if is_text else chunk_to_jsonl(record.payload)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert jsonl_to_record(line[:-1], 1) == record
    assert LineSplitter().feed(line) == [line[:-1]]
    assert (
        (json.loads(line)["text"] == text)
        if is_text
        else (base64.b64decode(json.loads(line)["base64"]) == data)
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  ",
        b"hello",
        b'"text"',
        b"[]",
        b'[["text","a"]]',
        b'{"text":"a","text":"b"}',
        '{"text":"a"}'.encode("utf-16"),
        b"{}",
        b'{"text":1}',
        b'{"text":null}',
        b'{"text":"a","base64":""}',
        b'{"data":"a"}',
        b'{"text":"\\ud800"}',
        b'{"base64":"AP8"}',
        b'{"base64":"A P8="}',
        b'{"base64":"AP8=="}',
        '{"base64":"é"}'.encode(),
        b'{"base64":5}',
        b'{"text":"\xff"}',
        b'{"text":"a"',
        b"[" * 9000,
    ],
)
def test_a_line_that_is_no_frame_is_named(line: bytes) -> None:
    with pytest.raises(LocalProblem, match="in: line 7 is not a frame"):
        jsonl_to_record(line, 7, "in")


def test_a_notice_is_one_clean_line() -> None:
    assert message_notice(b"a\nb\x1b[2J\xff") == "a b [2J\ufffd"
    assert len(message_notice(b"x" * 9999)) == 4096


M = Mode


@pytest.mark.parametrize("sealed", Mode)
def test_a_reader_without_a_flag_follows(sealed: Mode) -> None:
    assert follow(None, sealed) is sealed
    assert follow(M.RECORDS, sealed) is M.RECORDS
    assert follow(sealed, sealed) is sealed


@pytest.mark.parametrize(
    ("asked", "sealed"),
    [(M.LINES, M.BYTES), (M.TEXT, M.BYTES), (M.BYTES, M.LINES), (M.LINES, M.RECORDS), (M.BYTES, M.RECORDS)],
)
def test_a_flag_that_contradicts_the_stream_is_refused(asked: Mode, sealed: Mode) -> None:
    with pytest.raises(UsageProblem, match="contradicts"):
        follow(asked, sealed)
