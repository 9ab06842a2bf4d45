"""Which setting wins, and where a token goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iii_cli.config.refspec import ResolvedRef
from iii_cli.config.settings import GlobalFlags, Settings, color_choice, resolve
from iii_cli.config.store import Context, ContextStore, PrivateFolder
from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.protocol.refs import ChannelRef, Direction, EngineAddress, Secret, TlsFiles

if TYPE_CHECKING:
    from pathlib import Path

PROD = Context(
    "prod",
    EngineAddress.parse("wss://prod.example:443"),
    namespace="orders",
    token_source="env:PROD_TOKEN",
    tls=TlsFiles(ca_file="/prod/ca.pem"),
)
BARE = Context("bare", EngineAddress.parse("ws://bare.example"))


REF = ChannelRef("c1", Secret("k3y"), Direction.READ)


class Contexts(ContextStore):
    """Those above."""

    def __init__(self, chosen: str | None = None) -> None:
        super().__init__(PrivateFolder(lambda: None))
        self.chosen = chosen

    def find(self, name: str) -> Context | None:
        return {"prod": PROD, "bare": BARE}.get(name)

    def names(self) -> list[str]:
        return ["bare", "prod"]

    def in_use(self) -> str | None:
        return self.chosen


def settle(
    flags: GlobalFlags | None = None,
    environ: dict[str, str] | None = None,
    chosen: str | None = None,
    engine_url: str | None = None,
) -> Settings:
    contexts = Contexts(chosen)
    environ = {"PROD_TOKEN": "prod-secret"} | (environ or {})
    return resolve(flags or GlobalFlags(), environ, contexts, ResolvedRef(REF, engine_url))


def token(settings: Settings) -> str | None:
    return None if settings.endpoint.token is None else settings.endpoint.token.reveal()


URL = "ws://env.example:1"
FLAG = "ws://flag.example:2"

LOCAL, PROD_URL, BARE_URL = "ws://localhost:49134", "wss://prod.example:443", "ws://bare.example:49134"
MINE = {"III_NAMESPACE": "mine", "III_TOKEN": "t"}
ORDER: list[tuple[dict[str, str], dict[str, str], str | None, str, str | None, str | None]] = [
    # flags, environment, the context in use -> URL, namespace, token
    ({}, {}, None, LOCAL, None, None),
    ({}, {}, "prod", PROD_URL, "orders", "prod-secret"),
    ({}, {"III_CONTEXT": "bare"}, "prod", BARE_URL, None, None),
    ({}, {"III_URL": URL}, "prod", URL, None, None),
    ({}, {"III_URL": "", "III_CONTEXT": "", "III_TOKEN": ""}, None, LOCAL, None, None),
    ({}, {"III_URL": URL, "III_CONTEXT": "prod"}, None, URL, "orders", None),
    ({}, {"III_URL": "wss://prod.example", "III_CONTEXT": "prod"}, None, PROD_URL, "orders", "prod-secret"),
    ({}, MINE, "prod", PROD_URL, "mine", "t"),
    (
        {"context": "prod"},
        MINE | {"III_URL": URL, "III_CONTEXT": "bare"},
        None,
        PROD_URL,
        "orders",
        "prod-secret",
    ),
    ({"context": "bare"}, MINE, "prod", BARE_URL, None, None),
    ({"context": "prod", "url": FLAG}, {"III_URL": URL}, None, FLAG, "orders", None),
    ({"url": FLAG}, {"III_URL": URL, "III_TOKEN": "t"}, "prod", FLAG, None, "t"),
    ({"url": FLAG, "namespace": "n"}, {"III_NAMESPACE": "mine"}, "prod", FLAG, "n", None),
    ({"url": "wss://prod.example"}, {}, "prod", PROD_URL, None, None),
]


@pytest.mark.parametrize(("flags", "environ", "chosen", "url", "namespace", "secret"), ORDER)
def test_the_order_of_settings(
    flags: dict[str, Any], environ: dict[str, str], chosen: str | None, url: str, namespace: str, secret: str
) -> None:
    settings = settle(GlobalFlags(**flags), environ, chosen)
    assert (settings.endpoint.address.url, settings.namespace, token(settings)) == (url, namespace, secret)


def test_a_saved_ref_goes_to_its_engine_and_takes_only_what_belongs_there() -> None:
    elsewhere = "ws://saved.example:7"
    environ = {"III_URL": URL, "III_TOKEN": "t"}
    assert settle(environ=environ, engine_url=URL).endpoint.address.url == URL
    assert token(settle(environ=environ, engine_url=URL)) == "t"
    assert settle(environ=environ, engine_url=elsewhere).endpoint.address.url == elsewhere
    assert token(settle(environ=environ, engine_url=elsewhere)) is None
    assert token(settle(environ=environ, engine_url="wss://prod.example")) == "prod-secret"
    assert settle(GlobalFlags(url=FLAG), environ, engine_url=elsewhere).endpoint.address.url == FLAG


def test_the_certificate_of_a_context_is_for_its_engine_alone() -> None:
    assert settle(GlobalFlags(context="prod")).endpoint.tls.ca_file == "/prod/ca.pem"
    assert settle(GlobalFlags(context="prod", url=FLAG)).endpoint.tls == TlsFiles()


def test_tokens_come_from_files_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    file.chmod(0o644)  # as Kubernetes mounts secrets
    settings = settle(environ={"III_TOKEN_FILE": str(file)})
    assert token(settings) == "from-file"
    assert settings.notices == ()
    assert token(settle(environ={"III_TOKEN_FILE": str(file), "III_TOKEN": "t"})) == "t"
    assert token(settle(GlobalFlags(token_file=str(file)), {"III_TOKEN": "t"})) == "from-file"
    file.chmod(0o666)
    (notice,) = settle(GlobalFlags(token_file=str(file))).notices
    assert "everyone" in notice


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", UsageProblem),
        (b" \n", UsageProblem),
        (b"s3cret s3cret\n", UsageProblem),
        (b"s3cret\r\nX-Evil: 1\n", UsageProblem),
        ("s3cret\N{BULLET}".encode(), UsageProblem),
        (b"s3cret\xff", LocalProblem),
        (b"s3cret" * 20000, LocalProblem),
    ],
)
def test_a_token_that_no_header_can_carry_is_refused_unseen(
    tmp_path: Path, content: bytes, error: type[Exception]
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(error) as caught:
        settle(GlobalFlags(token_file=str(file)))
    assert "s3cret" not in str(caught.value)


def test_a_token_in_the_clear_beyond_this_machine_is_told() -> None:
    told = ("ws://10.0.0.1:1", "ws://127.0.0.1.example:1")
    for url in (*told, "wss://10.0.0.1:1", "ws://localhost:1", "ws://127.0.0.1:1", "ws://[::1]:1"):
        settings = settle(GlobalFlags(url=url), {"III_TOKEN": "s3cret"})
        assert bool(settings.notices) is (url in told)
        assert "s3cret" not in "".join(settings.notices)
        basic = settle(GlobalFlags(url=url, headers=("Authorization=Basic x",)))
        assert bool(basic.notices) is (url in told)


@pytest.mark.parametrize("namespace", ["", "  ", "\t"])
def test_a_blank_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(UsageProblem, match="--namespace is blank"):
        settle(GlobalFlags(namespace=namespace))
    if namespace:
        with pytest.raises(UsageProblem, match="III_NAMESPACE is blank"):
            settle(environ={"III_NAMESPACE": namespace})


def test_headers_are_typed_or_read_from_files(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("X-B: two=2\n\nX-C=three: 3\n")
    endpoint = settle(GlobalFlags(headers=("X-A=one", f"@{file}"))).endpoint
    assert endpoint.request_headers() == [("x-a", "one"), ("x-b", "two=2"), ("x-c", "three: 3")]
    assert "two" not in repr(endpoint)


@pytest.mark.parametrize(
    "header",
    ["s3cret", "=s3cret", "X Y=s3cret", "Host=s3cret", "sec-websocket-key: s3cret", "X-A=s3cret\r\nX: 1", ""],
)
def test_a_header_that_cannot_be_sent_is_refused_unseen(header: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        settle(GlobalFlags(headers=(header,)))
    assert "s3cret" not in str(caught.value)


def test_colour() -> None:
    dumb, forced = {"TERM": "dumb"}, {"FORCE_COLOR": "1"}
    for flag, environ, expected in (
        (None, {}, "auto"),
        ("auto", {"NO_COLOR": ""}, "auto"),
        (None, {"NO_COLOR": "1"} | forced, "never"),
        (None, forced | dumb, "always"),
        (None, {"FORCE_COLOR": "0"}, "auto"),
        (None, {"CLICOLOR_FORCE": "1"} | dumb, "always"),
        (None, dumb, "never"),
        ("always", {"NO_COLOR": "1"} | dumb, "always"),
        ("never", forced, "never"),
    ):
        assert color_choice(flag, environ) == expected
    assert [settle(GlobalFlags(color="auto")).use_color(tty) for tty in (True, False)] == [True, False]
