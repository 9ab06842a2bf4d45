"""`iii trigger` beside the engine's own (docs: protocol, "The engine's own command line").

Each row: what is typed behind `trigger`, what the engine hears, what a person sees, and how it ends. A row
whose status differs from the engine CLI's says so; non-zero stays non-zero.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.support.marks import in_ci_but
from tests.support.program import III, LIMIT, Program
from tests.support.scripted_engine import Drop, FunctionError, ScriptedEngine, Silence, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "SECRETKEY"
REF = {"channel_id": "c1", "access_key": KEY, "direction": "read"}
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"
LONG = "x" * 3_000_000
MISSING: Any = object()  # no call is made
ENDED: Any = object()  # any payload


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedEngine]:
    yield from running_engine()


def fails(code: str, message: str, **more: Any) -> NoReturn:
    raise FunctionError({"code": code, "message": message, **more})


def silent(data: Any) -> NoReturn:
    raise Silence


def dies(data: Any) -> NoReturn:
    raise Drop


FUNCTIONS: dict[str, Any] = {
    "echo": lambda data: data,
    "null": lambda data: None,
    "text": lambda data: "a\nb \u001b[31m\u202e",
    "number": lambda data: 7,
    "false": lambda data: False,
    "empty": lambda data: {},
    "list": lambda data: [],
    "quotes": lambda data: fails("invocation_failed", f"bad input: {data}", stacktrace=repr(data)),
    "exits": lambda data: {"exit_code": 7},
    "huge": lambda data: LONG,
    "unsorted": lambda data: {"b": 1, "a": {"d": [], "c": "é"}},
    "fails": lambda data: fails("invocation_failed", "bad header", stacktrace="at line 3"),
    "fails::bare": lambda data: fails("E1", "no trace"),
    "forbidden": lambda data: fails("FORBIDDEN", "function 'x' not allowed"),
    "stopped": lambda data: fails("invocation_stopped", "Invocation stopped"),
    "silent": silent,
    "dies": dies,
}


def error_text(code: str, message: str, stacktrace: str | None = None) -> str:
    body = json.dumps({"code": code, "message": message, "stacktrace": stacktrace}, indent=2)
    return f"Error: {body}\n"


@dataclass
class Row:
    """`typed` is what stands behind `iii trigger`; `err` is a part of stderr, "" for none at all."""

    typed: list[str]
    data: Any = MISSING
    out: str | None = None  # None: the payload, as the echo function gives it back
    err: str = ""
    status: int = 0
    stdin: bytes = b""
    heard: dict[str, Any] = field(default_factory=dict)  # further fields of the invokefunction
    environ: dict[str, str] = field(default_factory=dict)


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


NOT_FOUND = error_text("function_not_found", "Function nope::x not found in namespace default.")

ROWS = {
    # key=value
    "nothing": Row(["echo"], {}),
    "number": Row(["echo", "a=10"], {"a": 10}),
    "string": Row(["echo", "n=alice"], {"n": "alice"}),
    "object": Row(["echo", 'x={"y":1}'], {"x": {"y": 1}}),
    "list": Row(["echo", "x=[1, 2]"], {"x": [1, 2]}),
    "empty value": Row(["echo", "d="], {"d": ""}),
    "null value": Row(["echo", "d=null"], {"d": None}),
    "boolean": Row(["echo", "d=true"], {"d": True}),
    "quoted number": Row(["echo", 'd="10"'], {"d": "10"}),
    "leading zero": Row(["echo", "zip=01234"], {"zip": "01234"}),
    "negative": Row(["echo", "d=-1.5"], {"d": -1.5}),
    "exponent": Row(["echo", "d=1e3"], {"d": 1000.0}),
    "beyond 64 bits": Row(["echo", "d=18446744073709551617"], {"d": 18446744073709551617}),
    "NaN": Row(["echo", "d=NaN"], {"d": "NaN"}),
    "Infinity": Row(["echo", "d=-Infinity"], {"d": "-Infinity"}),
    "beyond a double": Row(["echo", "d=1e999"], {"d": "1e999"}),
    "half JSON": Row(["echo", "d={x"], {"d": "{x"}),
    "spaces": Row(["echo", "d=two words"], {"d": "two words"}),
    "a newline": Row(["echo", "d=two\nlines"], {"d": "two\nlines"}),
    "quotes": Row(["echo", 'd=it\'s "so"'], {"d": 'it\'s "so"'}),
    "unicode": Row(["echo", "größe=日本 🎉"], {"größe": "日本 🎉"}),
    "equals in the value": Row(["echo", "d=a=b"], {"d": "a=b"}),
    "dotted keys are keys": Row(["echo", "a.b=1"], {"a.b": 1}),
    "at signs mean nothing": Row(["echo", "d=@file"], {"d": "@file"}),
    "a dash value": Row(["echo", "d=-"], {"d": "-"}),
    "repeated keys": Row(["echo", "a=1", "b=2", "a=3"], {"a": 3, "b": 2}),
    "no equals": Row(["echo", "bad"], err="iii: expected key=value, got 'bad'\n", status=2),
    "empty key": Row(["echo", "=x"], err="the key is empty", status=2),
    "double dash": Row(["echo", "--", "a=1", "--b=2"], {"a": 1, "--b": 2}),
    "double dash first": Row(["--", "echo", "a=1"], {"a": 1}),
    "flags between": Row(["echo", "a=1", "--timeout-ms", "5000", "b=2"], {"a": 1, "b": 2}),
    "not UTF-8": Row(["echo", "a=\udcff"], err="not UTF-8", status=2),
    # -s
    "kept a string": Row(["echo", "-s", "zip=10"], {"zip": "10"}),
    "kept strings": Row(["echo", "-s", "a=true", "--string", "b={}"], {"a": "true", "b": "{}"}),
    "string without equals": Row(["echo", "-s", "zip"], err="expected key=value", status=2),
    # --json
    "json object": Row(["echo", "--json", '{"a":1}'], {"a": 1}),
    "json list": Row(["echo", "--json", "[1,2]"], [1, 2]),
    "json string": Row(["echo", "--json", '"x"'], "x"),
    "json null": Row(["echo", "--json", "null"], None, out=""),
    "json and pairs": Row(["echo", "--json", '{"a":1,"b":{"c":2}}', "b=3"], {"a": 1, "b": 3}),
    "json list and pairs": Row(["echo", "--json", "[]", "a=1"], err="--json must be an object", status=2),
    "json malformed": Row(["echo", "--json", "{a}"], err="iii: --json: not JSON", status=2),
    "json NaN": Row(["echo", "--json", "NaN"], err="--json: not JSON", status=2),
    "json from stdin": Row(["echo", "--json", "-", "b=2"], {"a": 1, "b": 2}, stdin=b'{"a":1}\n'),
    "json from an empty stdin": Row(["echo", "--json", "-"], err="--json -: not JSON", status=2),
    "json from a file": Row(["echo", "--json", "@in.json"], {"from": "file"}),
    "json from no file": Row(["echo", "--json", "@none"], err="cannot read none", status=10),
    # results
    "null prints nothing": Row(["null"], {}, out=""),
    "a string has its quotes": Row(["text"], {}, out='"a\\nb \\u001b[31m\u202e"\n'),
    "a number": Row(["number"], {}, out="7\n"),
    "false": Row(["false"], {}, out="false\n"),
    "an empty object": Row(["empty"], {}, out="{}\n"),
    "an empty list": Row(["list"], {}, out="[]\n"),
    "sorted, UTF-8 as it is": Row(
        ["unsorted"], {}, out='{\n  "a": {\n    "c": "é",\n    "d": []\n  },\n  "b": 1\n}\n'
    ),
    "huge": Row(["huge"], {}, out=f'"{LONG}"\n'),
    "one line": Row(["unsorted", "--format", "jsonl"], {}, out='{"a":{"c":"é","d":[]},"b":1}\n'),
    "raw string": Row(["text", "--format", "raw"], {}, out="a\nb \u001b[31m\u202e\n"),
    "raw number": Row(["number", "--format", "raw"], {}, out="7\n"),
    "raw null": Row(["null", "--format", "raw"], {}, out=""),
    "no such form": Row(["number", "--format", "xml"], err="--format is one of", status=2),
    # errors: the engine's CLI exits 1 for each of these
    "function fails": Row(
        ["fails"], {}, "", error_text("invocation_failed", "bad header", "at line 3"), status=1
    ),
    "without a trace": Row(["fails::bare"], {}, "", error_text("E1", "no trace"), status=1),
    # the engine's CLI says 1: it does not tell a loss from a failure
    "worker dies": Row(["stopped"], {}, "", error_text("invocation_stopped", "Invocation stopped"), status=9),
    "no such function (ours: 5)": Row(["nope::x", "a=1"], {"a": 1}, "", NOT_FOUND, status=5),
    "not allowed (ours: 4)": Row(
        ["forbidden"], {}, "", error_text("FORBIDDEN", "function 'x' not allowed"), status=4
    ),
    "time-out (ours: 124)": Row(
        ["silent", "--timeout-ms", "40"], {}, "", "iii: no answer from silent within 0.04 s\n", status=124
    ),
    "time-out of ours": Row(["silent", "--timeout", "40ms"], {}, "", "within 0.04 s\n", status=124),
    "engine dies (ours: 3)": Row(["dies"], {}, "", "was lost during the call", status=3),
    "no engine (ours: 3)": Row(["echo", "--port", "1"], err="no engine at ws://localhost:1", status=3),
    "no FUNCTION (ours: 2)": Row([], err="iii: missing FUNCTION", status=2),
    "unknown flag": Row(["echo", "--nope"], err="--nope", status=2),
    "a flag without its value": Row(["echo", "--json"], err="--json", status=2),
    "time-out not a number": Row(["echo", "--timeout-ms", "x"], err="--timeout-ms", status=2),
    "two time-outs": Row(["echo", "--timeout-ms", "1", "--timeout", "1"], err="either --timeout", status=2),
    "a payload that the engine would not read": Row(
        ["echo", "--json", "-"],
        err='"code": "payload_too_large"',
        status=1,
        stdin=b'"%s"' % (b"x" * (16 << 20)),
    ),
    # where it goes
    "namespace": Row(
        ["nope::x", "-n", "there"],
        {},
        "",
        error_text("function_not_found", "Function nope::x not found in namespace there."),
        status=5,
        heard={"namespace": "there"},
    ),
    "default namespace": Row(["echo", "--namespace", "default"], {}, heard={"namespace": "default"}),
    "blank namespace": Row(["echo", "-n", " "], err="--namespace is blank", status=2),
    "namespace of the environment": Row(
        ["echo"], {}, heard={"namespace": "default"}, environ={"III_NAMESPACE": "default"}
    ),
    "the engine's own are in default": Row(
        ["engine::x"],
        {},
        "",
        error_text("function_not_found", "Function engine::x not found in namespace default."),
        status=5,
        heard={"namespace": None},
        environ={"III_NAMESPACE": "elsewhere"},
    ),
    "address and url": Row(["echo", "--address", "h", "--url", "ws://h"], err="either --url or", status=2),
    # beyond the engine's CLI
    "void": Row(["echo", "--void", "a=1"], {"a": 1}, out="", heard={"action": {"type": "void"}}),
    "void to nobody": Row(["nope::x", "--void"], {}, out="", heard={"invocation_id": None}),
    "metadata": Row(["echo", "--metadata", '{"m":1}'], {}, heard={"metadata": {"m": 1}}),
    "exit code": Row(["exits", "--exit-code"], {}, out='{\n  "exit_code": 7\n}\n', status=7),
    "exit code not asked for": Row(["exits"], {}, out='{\n  "exit_code": 7\n}\n'),
    "no exit code": Row(["number", "--exit-code"], {}, out="7\n"),
    "trace of the environment": Row(
        ["echo"], {}, heard={"traceparent": TRACEPARENT}, environ={"TRACEPARENT": TRACEPARENT}
    ),
    "a trace that is none": Row(["echo"], {}, heard={"traceparent": None}, environ={"TRACEPARENT": "00-x"}),
    "ref": Row(["echo", "--ref", f"a.r[0]=iii:read:c1:{KEY}"], {"a": {"r": [REF]}}),
    "an error that quotes the ref": Row(
        ["quotes", "--ref", f"r=iii:read:c1:{KEY}"], {"r": REF}, "", "bad input: {'r': ", status=1
    ),
    "ref over json": Row(["echo", "--json", "[{}]", "--ref", f"[0].r=iii:read:c1:{KEY}"], [{"r": REF}]),
    "ref without a key": Row(["echo", "--ref", f"iii:read:c1:{KEY}"], err="KEY=REF", status=2),
    "ref in the way": Row(["echo", "a=1", "--ref", f"a.b=iii:read:c1:{KEY}"], err="a is not an", status=2),
    "ref malformed": Row(["echo", "--ref", f"r=iii:red:c1:{KEY}"], err="malformed", status=2),
    "dry run": Row(
        ["echo", "a=1", "--ref", f"r=iii:read:c1:{KEY}", "--dry-run"],
        out=pretty({"a": 1, "r": REF | {"access_key": "***"}}),
    ),
}


QUICK = (
    *("nothing", "number", "quotes", "not UTF-8", "kept a string", "json and pairs", "json from stdin"),
    *(
        "null prints nothing",
        "sorted, UTF-8 as it is",
        "function fails",
        "worker dies",
        "not allowed (ours: 4)",
    ),
    *("time-out (ours: 124)", "engine dies (ours: 3)", "void", "exit code", "ref", "dry run"),
)


@pytest.mark.parametrize("name", in_ci_but(QUICK, ROWS))
def test_parity(name: str, scripted: ScriptedEngine, tmp_path: Path) -> None:
    row = ROWS[name]
    (tmp_path / "in.json").write_text('{"from":"file"}')
    env = Program(tmp_path, scripted.url).env
    env.pop("TRACEPARENT", None)
    scripted.functions = FUNCTIONS
    scripted.calls.clear()

    done = subprocess.run(
        [III, "trigger", *row.typed],
        input=row.stdin,
        capture_output=True,
        timeout=LIMIT,
        env=env | row.environ,
        cwd=tmp_path,
    )

    out, err = done.stdout.decode(), done.stderr.decode()
    # Behind an unknown name ours asks for the nearest one, behind a failure whether streams were meant.
    about = ("engine::functions::list", "engine::functions::info")
    asked = [call["data"] for call in scripted.calls if call["function_id"] not in about]
    assert (done.returncode, asked) == (row.status, [] if row.data is MISSING else [row.data]), err
    assert out == (pretty(row.data) if row.out is None and row.status == 0 else row.out or "")
    assert row.err in err if row.err else err == ""
    assert KEY not in err
    assert "***" in out or KEY not in out or row.data is not MISSING
    for field_name, value in row.heard.items():
        assert scripted.calls[0].get(field_name) == value


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 60
