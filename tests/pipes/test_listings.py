"""What the engine knows, as a person and as a program get it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hostile_worker import DANGEROUS, FUNCTION, TRICKS, hostile_worker, hostile_writer
from tests.support.marks import in_ci, in_ci_but
from tests.support.program import Program, running_engine
from tests.support.screen import on_screen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LISTS = ("functions ls", "functions ls --all", "workers ls", "ref ls", "context ls")


@pytest.fixture(scope="module")
def crowded() -> Iterator[str]:
    """An engine with a hostile worker and two of ours."""
    with running_engine() as (url, _), hostile_worker(url):
        yield url


@pytest.fixture
def iii(crowded: str, tmp_path: Path) -> Program:
    return Program(tmp_path, crowded)


SHOWN = (
    ("functions", "ls"),
    ("functions", "ls", "--ids"),
    ("functions", "ls", "--json"),
    ("functions", "info", FUNCTION),
    ("functions", "info", FUNCTION, "--json"),
    ("functions", "info", FUNCTION, "--template"),
    ("functions", "info", "evil::fn"),
    ("workers", "ls"),
    ("workers", "ls", "--json"),
    ("workers", "info", f"evil{TRICKS}"),
    ("trigger", FUNCTION, "--help"),
    ("trigger", FUNCTION),
    ("trigger", FUNCTION, "--trace"),
    ("trigger", FUNCTION, "--in", "/dev/null", "--progress", "json"),
    ("functions", "wait", f"evil{TRICKS}", "--timeout", "0.1"),
    ("doctor",),
)


@pytest.mark.parametrize(
    "number",
    in_ci_but([0, 3, 7, 11], range(len(SHOWN))),
    ids=[" ".join(words[:2] + words[3:]) for words in SHOWN],
)
def test_nothing_that_a_worker_says_moves_the_cursor(iii: Program, number: int) -> None:
    words = SHOWN[number]
    _, shown = on_screen(iii, *words, columns=200)
    assert "line" in shown or "evil" in shown or words == ("doctor",)
    assert DANGEROUS.search(shown) is None


def test_json_keeps_what_the_worker_said(iii: Program) -> None:
    """A program gets the truth, escaped where a terminal shows it."""
    for text in (iii.ok("functions", "ls", "--json"), on_screen(iii, "functions", "ls", "--json")[1]):
        rows = json.loads(text)
        assert [row["description"] for row in rows if row["function_id"] == FUNCTION] == [TRICKS]


@pytest.mark.parametrize("words", in_ci_but(["functions ls", "ref ls"], LISTS))
def test_every_list_is_an_array_for_jq(iii: Program, words: str) -> None:
    assert isinstance(json.loads(iii.ok(*words.split(), "--json")), list)


DOCUMENTS = (
    *(f"{words} --json" for words in LISTS),
    "workers info engine --json",
    "functions info engine::log::info --json",
    "functions info engine::log::info --template",
    "context show prod --json",
    "ref show kept --json",
    "channel create --json",
    "doctor --json",
    "trace show $trace --json",
)


@pytest.mark.ci
@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_jq_reads_every_document(iii: Program) -> None:
    """With a hostile worker among what is listed."""
    script = """
        iii context add prod ws://127.0.0.1:1 && iii channel create --save kept || exit 9
        trace=0af7651916cd43dd8448eb211c80319c
        export TRACEPARENT=00-$trace-00f067aa0ba902b7-01
        iii trigger engine::log::info message=hello >/dev/null || exit 8
    """
    script += "".join(f"iii {words} | jq -r type || echo failed {words}\n" for words in DOCUMENTS)
    done = iii.shell(script, limit=60)
    lists, others = ["array"] * len(LISTS), ["object"] * (len(DOCUMENTS) - len(LISTS))
    assert (done.stderr.decode(), done.stdout.decode().split("\n")[:-1]) == ("", lists + others)


@pytest.mark.ci
def test_a_contradiction_is_refused(iii: Program) -> None:
    for words in (
        "functions ls --json --ids",
        "workers ls --names --json",
        "functions info f --json --template",
    ):
        done = iii.run(*words.split())
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"iii: either --json or --")
    assert iii.run("functions", "wait", "").returncode == 2


def test_head_ends_a_list_quietly(iii: Program) -> None:
    done = iii.shell("iii functions ls --all | head -1; echo ${PIPESTATUS[@]}")
    first, statuses = done.stdout.decode().splitlines()
    assert first.split("\t")[0] == "engine::baggage::get"
    assert statuses in ("0 0", "141 0")
    assert done.stderr == b""


def test_a_table_has_a_header_on_a_terminal_only(iii: Program) -> None:
    status, shown = on_screen(iii, "workers", "ls", "--runtime", "engine", columns=120)
    header, row = shown.splitlines()
    assert (status, header.split()[0], row.split()[0]) == (0, "WORKER", "engine")
    assert iii.ok("workers", "ls", "--runtime", "engine").startswith("engine\tdefault\tengine\t")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--prefix", "engine::trace", "--all"), ["clear", "list", "tree"]),
        (("--search", "nested", "--all"), ["tree"]),
        (("--worker", "nobody"), []),
        (("--all", "-n", "elsewhere"), []),
    ],
    ids=" ".join,
)
def test_filters(iii: Program, words: Any, expected: list[str]) -> None:
    if isinstance(words, tuple):
        ids = iii.ok("functions", "ls", "--ids", *words).split()
        assert [name.rpartition("::")[2] for name in ids] == expected


def test_info_of_a_worker_holds_its_functions(iii: Program) -> None:
    found = json.loads(iii.ok("workers", "info", "engine", "--json"))
    assert found["worker"]["runtime"] == "engine"
    shown = iii.ok("workers", "info", "engine")
    assert "engine::channels::create\t" in shown
    assert "version" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("functions info engine::worker::list", "did you mean 'engine::workers::list'?"),
        ("functions lss", "Did you mean 'ls'?"),
        ("channel read --timout 3s @x", "no such option --timout; did you mean --timeout?"),
        *in_ci(
            ("workers info engin", "did you mean 'engine'?"),
            ("trigger evl::fn", "did you mean"),
            ("functons ls", "Did you mean 'functions'"),
            ("functions ls --jsn", "--json"),
            ("channel read @nme", "no saved ref 'nme'"),
            ("functions ls --urll x", "did you mean --url?"),
            ("functions ls --frobnicate", "no such option --frobnicate; see"),
        ),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(iii: Program, words: str, said: str) -> None:
    done = iii.run(*words.split())
    assert done.returncode in (2, 5)
    assert said in done.stderr.decode()
    assert done.stdout == b""


def test_a_function_of_another_namespace_is_answered_with_its_namespace(iii: Program) -> None:
    done = iii.run("trigger", "-n", "other", "engine::health::check")
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"try `-n default`" in done.stderr
    assert b"did you mean" not in done.stderr


@pytest.mark.ci
def test_a_ref_without_its_mark_is_answered_with_it(iii: Program) -> None:
    iii.ok("channel", "create", "--save", "backup")
    for typed, meant in (("bakup", "@backup?"), ("backup/reader", "@backup/reader?")):
        done = iii.run("channel", "read", typed)
        assert (done.returncode, done.stdout) == (2, b"")
        assert f"did you mean {meant}" in done.stderr.decode()
    assert "did you mean @backup" in iii.run("channel", "read", "@bakup").stderr.decode()


@pytest.mark.ci
def test_many_calls_and_a_wait_name_the_nearest_too(iii: Program) -> None:
    each = iii.run("trigger", "engine::health::chek", "--each", stdin=b"{}\n")
    wait = iii.run("functions", "wait", "engine::health::chek", "--timeout", "200ms")
    assert (each.returncode, wait.returncode) == (1, 124)
    for done in (each, wait):
        assert b"did you mean 'engine::health::check'?" in done.stderr


def test_an_engine_that_is_gone_suggests_nothing_and_is_no_bug(tmp_path: Path) -> None:
    done = Program(tmp_path, "ws://127.0.0.1:9").run("workers", "ls")
    assert done.returncode == 3
    assert done.stderr.decode().count("\n") == 1


@pytest.mark.ci
def test_a_wait_says_what_for(iii: Program) -> None:
    """On a terminal, after a second, in a line that goes away."""
    _, shown = on_screen(iii, "functions", "wait", "no::such", "engine::log::info", "--timeout", "1500ms")
    assert "\r\x1b[Kwaiting 1 s for no::such" in shown
    assert shown.endswith("\r\x1b[Kiii: not there within 1500ms: no::such\n")
    assert iii.run("functions", "wait", "no::such", "--timeout", "1500ms").stderr.count(b"\n") == 1


@pytest.mark.ci
def test_a_completion_is_offered_nothing_that_a_terminal_obeys(iii: Program) -> None:
    for words in (("trigger",), ("workers", "info"), ("trigger", FUNCTION)):
        assert iii.run("_complete", "line", "evil", "--", *words).stdout.count(b"\n") == 1


def test_what_a_writer_says_is_cleaned_too(iii: Program, crowded: str) -> None:
    """A message beside the bytes, and the reason of an abort."""
    writer, reader = iii.channel()
    with hostile_writer(crowded, writer):
        status, shown = on_screen(iii, "channel", "read", "env:R", "-o", "got", env={"R": reader})
    assert status == 7
    assert shown.count("line") == 2
    assert DANGEROUS.search(shown) is None
