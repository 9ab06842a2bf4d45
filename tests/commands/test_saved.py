"""`iii ref` and `iii context`, as a person and as a script use them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from iii_cli.commands.root import app
from iii_cli.config.settings import GlobalFlags, Settings, resolve
from iii_cli.config.store import Context, ContextStore, SavedRef, SavedRefs
from iii_cli.errors import Failure
from iii_cli.protocol.refs import ChannelRef, Direction, EngineAddress, Secret, TlsFiles

if TYPE_CHECKING:
    from pathlib import Path

READER = ChannelRef("c1", Secret("k3y"), Direction.READ)
WRITER = READER.facing(Direction.WRITE)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("III_", "XDG_"))]:
        monkeypatch.delenv(name)
    for kind in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    return tmp_path


@pytest.fixture
def store() -> SavedRefs:
    store = SavedRefs()
    store.save(SavedRef("x", "c1", Secret("k3y"), "ws://engine:1/p?token=t0p", store.now()))
    return store


def run(words: str, *more: str, flags: str = "", stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [*flags.split(), *words.split(), *more], input=stdin)


def ok(words: str, *more: str, flags: str = "", stdin: str | None = None) -> str:
    result = run(words, *more, flags=flags, stdin=stdin)
    assert result.exit_code == 0, result.output or result.exception
    return result.stdout


def failure(result: Result) -> Failure:
    assert isinstance(result.exception, Failure), result.output
    assert not {"k3y", "t0p"} & set(str(result.exception).split())
    return result.exception


def settings(**flags: str) -> Settings:
    return resolve(GlobalFlags(**flags), {"T": "t0p"}, ContextStore())  # type: ignore[arg-type]


# Refs.


@pytest.mark.parametrize("given", [READER.to_token(), json.dumps(READER.to_json())])
def test_a_ref_comes_in_on_stdin_and_goes_out_again(given: str) -> None:
    assert ok("ref save @backup -", stdin=given + "\n", flags="--url wss://there/p?q=1") == ""
    assert SavedRefs().load("backup").engine_url == "wss://there:443/p?q=1"
    assert ok("ref show backup") == f"reader\t{READER.to_token()}\n"
    assert ok("ref show @backup --end reader") == READER.to_token() + "\n"
    assert json.loads(ok("ref show backup --json")) == {"reader": READER.to_json()}
    assert json.loads(ok("ref show backup --json --end reader")) == READER.to_json()
    assert "only its reader was saved" in str(failure(run("ref show backup --end writer")))


def test_a_saved_ref_is_saved_again_with_its_engine_and_its_age(store: SavedRefs) -> None:
    ok("ref save y @x/writer")
    x, y = store.load("x"), store.load("y")
    assert (y.engine_url, y.created_at, y.ends) == (x.engine_url, x.created_at, (Direction.WRITE,))


def test_an_unused_one_stays_unless_forced(store: SavedRefs) -> None:
    other = ChannelRef("c2", Secret("k3y"), Direction.READ).to_token()
    assert "--force" in str(failure(run("ref save x -", stdin=other)))
    ok("ref save x - --force", stdin=other)
    assert store.load("x").channel_id == "c2"


@pytest.mark.parametrize(
    ("words", "stdin", "status"),
    [
        ("ref save ../x -", READER.to_token(), 2),
        ("ref save new -", "k3y", 2),
        ("ref save new -", "", 2),
        ("ref save new @x", None, 2),
        ("ref save new @nobody/reader", None, 5),
        ("ref save new file:/nowhere", None, 10),
        ("ref show nobody", None, 5),
        ("ref show x --end both", None, 2),
        ("ref rm x nobody", None, 5),
    ],
)
def test_each_mistake_has_its_error(store: SavedRefs, words: str, stdin: str | None, status: int) -> None:
    assert failure(run(words, stdin=stdin)).exit_status == status
    assert store.names() == ["x"]


def test_saving_needs_no_token_of_the_engine() -> None:
    ContextStore().save(Context("prod", EngineAddress.parse("wss://prod"), token_source="env:NOT_SET"))
    ContextStore().use("prod")
    ok("ref save a -", stdin=READER.to_token(), flags="--token-file -")
    assert SavedRefs().load("a").engine_url == "wss://prod:443"


def test_ref_ls_holds_no_secret(store: SavedRefs) -> None:
    store.mark_used("x", WRITER)
    name, state, writer, reader, _, engine = ok("ref ls").rstrip("\n").split("\t")
    assert (name, state, writer, reader, engine) == ("x", "used", "used", "unused", "ws://engine:1/p")
    text = ok("ref ls --json")
    (told,) = json.loads(text)
    assert {"name": "x", "state": "used", "writer": "used", "reader": "unused"}.items() <= told.items()
    assert "k3y" not in text
    assert "t0p" not in text
    ok("ref rm @x")
    assert (ok("ref ls"), json.loads(ok("ref ls --json"))) == ("", [])


def test_show_of_a_spent_one_says_so_beside_the_data(store: SavedRefs) -> None:
    assert run("ref show x").stderr == ""
    store.mark_used("x", WRITER)
    result = run("ref show x")
    assert result.stdout == f"writer\t{WRITER.to_token()}\nreader\t{READER.to_token()}\n"
    assert "was used already; `iii channel create --save x`" in result.stderr
    assert run("ref show x", flags="-q").stderr == ""


@pytest.mark.parametrize(("kind", "suffix"), [("ref", "json"), ("context", "toml")])
def test_ls_shows_the_good_and_tells_of_the_damaged(store: SavedRefs, kind: str, suffix: str) -> None:
    ok("context add x ws://a")
    folder = (SavedRefs() if kind == "ref" else ContextStore()).folder.path
    for name in ("a", "b"):
        (folder / f"{name}.{suffix}").write_text("k3y")
    result = run(f"{kind} ls")
    assert "x\t" in result.stdout
    assert f"b.{suffix}' is damaged" in result.stderr
    assert f"a.{suffix}' is damaged" in str(failure(result))
    assert failure(result).exit_status == 10


def test_without_a_writable_home_only_saving_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", "/proc/self")
    assert ok("ref ls") == ok("context ls") == ""
    assert failure(run("ref save a -", stdin=READER.to_token())).exit_status == 10
    assert failure(run("context add a ws://a")).exit_status == 10


# Contexts.


def test_a_context_is_added_chosen_used_and_forgotten() -> None:
    flags = "--namespace orders --server-name inner"
    assert ok("context add prod wss://engine.example --token env:T --use", flags=flags) == ""
    settled = settings()
    assert (settled.context, settled.namespace) == ("prod", "orders")
    assert settled.endpoint.address.url == "wss://engine.example:443"
    assert settled.endpoint.token == Secret("t0p")
    assert settled.endpoint.tls == TlsFiles(server_name="inner")
    ok("context use --none")
    assert settings().context is None
    ok("context rm prod")
    assert "no context 'prod'" in str(failure(run("context use prod")))


def test_files_are_found_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "token").write_text("t0p")
    ok("context add a", flags="--url wss://h --token-file token --cacert ca.pem --cert c.pem --key k.pem")
    ok("context add b wss://h --token file:token")
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        assert settings(context=name).endpoint.token == Secret("t0p")
    work = str(tmp_path / "work")
    assert settings(context="a").endpoint.tls == TlsFiles(f"{work}/ca.pem", f"{work}/c.pem", f"{work}/k.pem")


def test_a_token_on_stdin_is_kept_in_a_file_and_never_shown(home: Path) -> None:
    ok("context add prod wss://h", flags="--token-file -", stdin="t0p\n")
    assert settings(context="prod").endpoint.token == Secret("t0p")
    for words in ("ls", "ls --json", "show prod", "show prod --json"):
        shown = ok(f"context {words}")
        assert "t0p" not in shown
        assert f"file:{home}" in shown


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("x", ""),
        ("x http://h", ""),
        ("../x ws://h", ""),
        ("x ws://h --token t0p", ""),
        ("x ws://h --token env:T", "--token-file t"),
        ("x ws://h", "--namespace="),
        ("x ws://h", "--key k"),
        ("x ws://h", "--header A=t0p"),
        ("x ws://h", "--token-file -"),
    ],
)
def test_what_no_context_can_be_made_of_is_refused(home: Path, words: str, flags: str) -> None:
    assert failure(run(f"context add {words}", flags=flags, stdin="")).exit_status == 2
    assert list(home.iterdir()) == []


def test_a_name_is_replaced_only_with_force() -> None:
    ok("context add x ws://a")
    assert "--force" in str(failure(run("context add x ws://b")))
    ok("context add x ws://b --force")
    assert settings(context="x").endpoint.address.host == "b"


def test_ls_and_show_know_the_one_in_use() -> None:
    assert "no context is in use" in str(failure(run("context show")))
    ok("context add a ws://a/?token=t0p")
    ok("context add b ws://b --use")
    assert ok("context ls") == "\ta\tws://a:49134\t-\t-\n*\tb\tws://b:49134\t-\t-\n"
    told = json.loads(ok("context ls --json"))
    assert [(row["name"], row["in_use"], row["url"]) for row in told] == [
        ("a", False, "ws://a:49134"),
        ("b", True, "ws://b:49134"),
    ]
    assert ok("context show") == "name\tb\nin_use\tyes\nurl\tws://b:49134\n"


def test_use_wants_one_thing_and_tells_what_still_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    ok("context add b ws://b")
    for words in ("context use", "context use b --none"):
        assert "name a context, or --none" in str(failure(run(words)))
    monkeypatch.setenv("III_URL", "ws://env")
    assert "III_URL in the environment still wins" in run("context use b").stderr
    assert run("context use b", flags="-q").stderr == ""
