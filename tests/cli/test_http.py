"""HTTP for commands: answers, refusals, and servers that are none of ours."""

import json
from collections.abc import Callable

import pytest

from cli.exit import CommandError, Exit
from cli.http import ask, escape

Serve = Callable[[int, bytes], str]


def test_an_answer(serve: Serve) -> None:
    """Status and body come back, and a status that the caller deals with is no error."""
    assert ask("GET", serve(200, b'{"a": 1}')).body == {"a": 1}
    assert ask("GET", serve(404, b""), allow=(404,)).status == 404


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (422, {"error": {"code": "bad", "message": "no", "path": "$.a"}}, "bad: $.a: no"),
        (412, {"error": {"code": "conflict", "message": "no"}}, "conflict: no"),
        (400, {"error": {"code": "bad", "message": "\x1b[2J é"}}, "bad: \\x1b[2J é"),
        (503, {"error": "busy\n"}, "busy\\n"),
        (503, {"error": 1}, "status 503"),
        (500, [], "status 500"),
    ],
)
def test_a_refusal(serve: Serve, status: int, body: object, message: str) -> None:
    """A refusal has the server's own words, and no way to write on the terminal."""
    url = serve(status, json.dumps(body).encode())
    with pytest.raises(CommandError) as caught:
        ask("PUT", url, body={})
    assert caught.value.message == f"PUT {url}: {message}"
    assert caught.value.exit_code == Exit.REFUSED


@pytest.mark.parametrize(
    ("status", "body", "got"),
    [(200, b"<html>", "'<html>'"), (200, b"", "None"), (302, b"", "None"), (200, b"[1]", "[1]")],
)
def test_a_server_that_is_another(serve: Serve, status: int, body: bytes, got: str) -> None:
    """An answer that is no JSON object comes from no server of ours."""
    url = serve(status, body)
    with pytest.raises(CommandError) as caught:
        ask("GET", url)
    assert caught.value.message == f"GET {url}: expected a JSON object, got status {status} and {got}"
    assert caught.value.exit_code == Exit.UNREACHABLE


def test_a_server_that_nests_too_deeply(serve: Serve) -> None:
    """So does one that no parser follows."""
    with pytest.raises(CommandError, match="expected a JSON object, got status 200 and ") as caught:
        ask("GET", serve(200, b"[" * 100_000))
    assert caught.value.exit_code == Exit.UNREACHABLE


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1", "http://", "http://a b"])
def test_nobody_there(url: str) -> None:
    """An address where nobody answers, or nobody can be, is named."""
    with pytest.raises(CommandError) as caught:
        ask("GET", url)
    assert caught.value.message.startswith(f"{url} cannot be reached: ")
    assert caught.value.exit_code == Exit.UNREACHABLE


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://127.0.0.1", ""])
def test_what_is_no_address(url: str) -> None:
    """An address without http or https is the caller's mistake."""
    with pytest.raises(CommandError) as caught:
        ask("GET", url)
    assert caught.value.message == f"expected an address such as http://127.0.0.1:8080, got {url!r}"
    assert caught.value.exit_code == Exit.USAGE


def test_escape() -> None:
    """What a terminal would obey is escaped; letters of any language stay."""
    assert escape("é中\n\x9b\u202e") == "é中\\n\\x9b\\u202e"
