"""`iii ref`, as a person and as a script use it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from iii_cli.commands.ref import ref_app
from iii_cli.config.settings import GlobalFlags
from iii_cli.config.store import Context, ContextStore, SavedRef, SavedRefs
from iii_cli.errors import Failure, LocalProblem, UnknownTarget, UsageProblem
from iii_cli.protocol.refs import ChannelRef, Direction, EngineAddress, Secret

if TYPE_CHECKING:
    from pathlib import Path


READER = ChannelRef("c1", Secret("k3y"), Direction.READ)
WRITER = READER.facing(Direction.WRITE)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("III_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def store() -> SavedRefs:
    store = SavedRefs()
    store.save(SavedRef("x", "c1", Secret("k3y"), "ws://engine:1/p?token=t0p", store.now()))
    return store


def run(*arguments: str, flags: GlobalFlags | None = None, stdin: str | None = None) -> Result:
    return CliRunner().invoke(ref_app, arguments, input=stdin, obj=flags)


def failure(result: Result) -> Failure:
    assert isinstance(result.exception, Failure), result.output
    assert "k3y" not in str(result.exception)
    return result.exception


@pytest.mark.parametrize("given", [READER.to_token(), json.dumps(READER.to_json())])
def test_a_ref_comes_in_on_stdin_and_goes_out_again(given: str) -> None:
    saved = run("save", "@backup", "-", stdin=given + "\n", flags=GlobalFlags(url="wss://there/p?q=1"))
    assert (saved.exit_code, saved.output) == (0, "")
    assert SavedRefs().load("backup").engine_url == "wss://there:443/p?q=1"
    assert run("show", "backup").stdout == f"reader\t{READER.to_token()}\n"
    assert run("show", "@backup", "--end", "reader").stdout == READER.to_token() + "\n"
    assert json.loads(run("show", "backup", "--json").stdout) == {"reader": READER.to_json()}
    with_end = run("show", "backup", "--json", "--end", "reader")
    assert json.loads(with_end.stdout) == READER.to_json()
    assert "only its reader was saved" in str(failure(run("show", "backup", "--end", "writer")))


def test_the_default_engine_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("III_URL", "ws://env:7")
    run("save", "a", READER.to_token())
    assert SavedRefs().load("a").engine_url == "ws://env:7"


def test_a_saved_ref_is_saved_again_with_its_engine_and_its_age(store: SavedRefs) -> None:
    assert run("save", "y", "@x/writer").exit_code == 0
    x, y = store.load("x"), store.load("y")
    assert (y.engine_url, y.created_at, y.ends) == (x.engine_url, x.created_at, (Direction.WRITE,))


def test_an_unused_one_stays_unless_forced(store: SavedRefs) -> None:
    other = ChannelRef("c2", Secret("k3y"), Direction.READ).to_token()
    assert "--force" in str(failure(run("save", "x", "-", stdin=other)))
    assert store.load("x").channel_id == "c1"
    assert run("save", "x", "-", "--force", stdin=other).exit_code == 0
    assert store.load("x").channel_id == "c2"


@pytest.mark.parametrize(
    ("arguments", "stdin", "error", "status"),
    [
        (("save", "../x", "-"), READER.to_token(), UsageProblem, 2),
        (("save", "new", "-"), "k3y", UsageProblem, 2),
        (("save", "new", "-"), "", UsageProblem, 2),
        (("save", "new", "@x"), None, UsageProblem, 2),
        (("save", "new", "@nobody/reader"), None, UnknownTarget, 5),
        (("save", "new", "file:/nowhere"), None, LocalProblem, 10),
        (("show", "nobody"), None, UnknownTarget, 5),
        (("show", "x", "--end", "both"), None, UsageProblem, 2),
        (("rm", "x", "nobody"), None, UnknownTarget, 5),
    ],
)
def test_each_mistake_has_its_error(
    store: SavedRefs, arguments: tuple[str, ...], stdin: str | None, error: type[Failure], status: int
) -> None:
    problem = failure(run(*arguments, stdin=stdin))
    assert isinstance(problem, error)
    assert problem.exit_status == status
    assert store.names() == ["x"]


def test_saving_needs_no_token_of_the_engine() -> None:
    ContextStore().save(Context("prod", EngineAddress.parse("wss://prod"), token_source="env:NOT_SET"))
    ContextStore().use("prod")
    assert run("save", "a", "-", stdin=READER.to_token(), flags=GlobalFlags(token_file="-")).exit_code == 0
    assert SavedRefs().load("a").engine_url == "wss://prod:443"


def test_ls_for_programs_is_rows_of_tabs_without_keys(store: SavedRefs) -> None:
    store.mark_used("x", WRITER)
    (row,) = run("ls").stdout.splitlines()
    name, state, writer, reader, _, engine = row.split("\t")
    assert (name, state, writer, reader, engine) == ("x", "used", "used", "unused", "ws://engine:1/p")


def test_ls_as_json_holds_no_secret(store: SavedRefs) -> None:
    result = run("ls", "--json")
    (told,) = json.loads(result.stdout)
    wanted: dict[str, Any] = {"name": "x", "state": "unused", "writer": "unused", "reader": "unused"}
    assert wanted.items() <= told.items()
    assert "k3y" not in result.stdout
    assert "t0p" not in result.stdout


def test_ls_of_nothing() -> None:
    assert run("ls").stdout == ""
    assert json.loads(run("ls", "--json").stdout) == []


def test_ls_shows_the_good_and_tells_of_the_damaged(store: SavedRefs, home: Path) -> None:
    for name in ("a", "b"):
        (home / "state" / "iii-cli" / "refs" / f"{name}.json").write_text("k3y")
    result = run("ls")
    assert result.stdout.startswith("x\t")
    assert "b.json' is damaged" in result.stderr
    assert "a.json' is damaged" in str(failure(result))
    assert failure(result).exit_status == 10


def test_show_of_a_spent_one_says_so_beside_the_data(store: SavedRefs) -> None:
    assert run("show", "x").stderr == ""
    store.mark_used("x", WRITER)
    result = run("show", "x")
    assert result.stdout == f"writer\t{WRITER.to_token()}\nreader\t{READER.to_token()}\n"
    assert "was used already; `iii channel create --save x`" in result.stderr
    assert run("show", "x", flags=GlobalFlags(quiet=True)).stderr == ""


def test_rm_forgets(store: SavedRefs) -> None:
    assert run("rm", "@x").exit_code == 0
    assert store.names() == []


def test_without_a_writable_home_only_saving_fails(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/self")
    assert run("ls").exit_code == 0
    assert failure(run("save", "a", "-", stdin=READER.to_token())).exit_status == 10
