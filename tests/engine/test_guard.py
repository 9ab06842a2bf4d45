"""Which requests may in: by Host, Origin and token."""

from __future__ import annotations

import pytest

from iii_cli.engine.guard import Guard, MalformedOrigin, host_name, is_loopback, origin_of
from iii_cli.protocol.handshake import BadRequest, Request
from iii_cli.protocol.refs import Secret

TOKEN = "0123456789abcdef0123"


def request(target: str = "/", **headers: str) -> Request:
    return Request("GET", target, headers)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:49134", "LOCALHOST:1", "localhost.", "127.0.0.1:49134", "[::1]:49134"),
        *("192.168.1.7:49134", "[fe80::1%eth0]:80", "engine", "engine:49134", "ENGINE."),
    ],
)
def test_addresses_localhost_and_allowed_names_are_ours(host: str) -> None:
    Guard(hosts=frozenset(["engine"])).check_page(request(host=host))


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "evil.example:49134", "localhost.evil.example", "127.0.0.1.evil.example", "["),
        *(
            "localhost@evil.example",
            "evil.example#localhost",
            "localhost, evil.example",
            "localhost:x",
            "2130706433",
        ),
        *(
            "sub.localhost",
            "engine2",
            "evil.example/localhost",
            "localhost?",
            "local\thost",
            "localhost evil.example",
            "\N{FULLWIDTH LATIN SMALL LETTER L}ocalhost",
        ),
    ],
)
def test_every_other_name_may_be_a_rebinding(host: str) -> None:
    with pytest.raises(BadRequest, match="--allow-host") as refused:
        Guard(hosts=frozenset(["engine", ""])).check_page(request(host=host))
    assert refused.value.status == 403


def test_a_program_may_leave_out_both() -> None:
    Guard().check_page(request())


@pytest.mark.parametrize("origin", ["http://localhost:5173", "HTTP://LOCALHOST:5173", "https://app.example"])
def test_an_allowed_origin_is_in(origin: str) -> None:
    allowed = frozenset(map(origin_of, ["http://localhost:5173/", "https://App.example:443"]))
    Guard(origins=allowed).check_page(request(host="localhost", origin=origin))


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://localhost",
        "http://localhost:49134",
        "https://localhost:5173",
        "http://localhost:5173, x",
    ],
)
def test_no_other_page_is_in_not_even_one_of_this_machine(origin: str) -> None:
    with pytest.raises(BadRequest, match="--allow-origin") as refused:
        Guard(origins=frozenset(["http://localhost:5173"])).check_page(
            request(host="localhost", origin=origin)
        )
    assert refused.value.status == 403


@pytest.mark.parametrize("host", ["localhost:49134", "127.0.0.1:49134", "[::1]:49134", "LOCALHOST:49134"])
def test_a_program_may_name_what_it_dialled(host: str) -> None:
    """websocket-client for Python does; no page has the engine's own address, as it serves none."""
    Guard(port=49134).check_page(request(host=host, origin=f"http://{host}"))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:5173", "http://localhost:5173"),  # another port: a gateway's, where there may be pages
        ("localhost", "http://localhost"),
        ("localhost:49134", "http://localhost:5173"),
        ("localhost:49134", "http://127.0.0.1:49134"),
        ("localhost:49134", "https://localhost:49134"),
        ("evil.test:49134", "http://evil.test:49134"),
        ("localhost:149134", "http://localhost:149134"),
    ],
)
def test_what_was_not_dialled_is_a_page(host: str, origin: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Guard(port=49134).check_page(request(host=host, origin=origin))
    assert refused.value.status == 403


@pytest.mark.parametrize(
    "text", ["*", "null", "localhost:5173", "http://", "://x", "http://a/b", "http://u@a"]
)
def test_what_is_no_origin_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(MalformedOrigin):
        origin_of(text)


GUARDED = Guard(Secret(TOKEN))


@pytest.mark.parametrize(
    "shown",
    [
        request(authorization=f"Bearer {TOKEN}"),
        request(authorization=f"bearer  {TOKEN}"),
        request(f"/?token={TOKEN}"),
        request(f"/?x=1&token={TOKEN}", authorization=f"Bearer {TOKEN}"),
        request(f"/?token={TOKEN}", authorization="Basic of-a-gateway"),
    ],
)
def test_the_right_token_is_in(shown: Request) -> None:
    GUARDED.check_token(shown, needed=True)


@pytest.mark.parametrize(
    "shown",
    [
        request(authorization=f"Bearer {TOKEN}x"),
        request(authorization="Bearer \xe4"),
        request(authorization="Bearer"),
        request("/?token="),
        request(f"/?token={TOKEN}&token=x"),
        request(f"/?token={TOKEN}", authorization="Bearer x"),
    ],
)
@pytest.mark.parametrize("needed", [True, False])
def test_a_wrong_one_is_out_even_where_none_is_needed(shown: Request, needed: bool) -> None:
    with pytest.raises(BadRequest, match="wrong") as refused:
        GUARDED.check_token(shown, needed=needed)
    assert (refused.value.status, TOKEN in str(refused.value)) == (401, False)


def test_none_is_out_only_where_one_is_needed() -> None:
    GUARDED.check_token(request(), needed=False)
    with pytest.raises(BadRequest, match="needed"):
        GUARDED.check_token(request(), needed=True)
    with pytest.raises(BadRequest, match="needed"):
        GUARDED.check_token(request(authorization="Basic x"), needed=True)


def test_without_a_token_of_its_own_it_does_not_look_at_others() -> None:
    Guard().check_token(request(authorization="Bearer x"), needed=True)


def test_the_guard_does_not_show_its_token() -> None:
    assert TOKEN not in repr(GUARDED)


def test_what_loopback_is() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost", ""]))


def test_a_host_name_has_no_port_and_no_case() -> None:
    assert [host_name(text) for text in ("A.b:1", "[::1]", "::1", "a/b")] == ["a.b", "::1", "", ""]
