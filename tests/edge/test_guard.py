"""Tests of edge/guard.py."""

import hmac
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from edge.guard import MAX_TOKEN_CHARS, MIN_TOKEN_CHARS, Guard, TokenFileError

TOKEN = "an-admin-token-of-some-length"
Ask = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the token in a line."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n", "ascii")
    return path


@pytest.fixture
def ask(aiohttp_client: Callable[..., Awaitable[TestClient[Any, Any]]]) -> Ask:
    """Asks a protected route behind a guard, and returns the status and what is told."""

    async def tell(request: web.Request) -> web.Response:
        return web.json_response({"body": await request.text()})

    async def ask(guard: Guard, **headers: str) -> tuple[int, Any]:
        app = web.Application()
        app.add_routes([guard.protect(web.post("/v1/secret", tell))])
        answer = await (await aiohttp_client(app)).post("/v1/secret", data="why?", headers=headers)
        return answer.status, await answer.json()

    return ask


async def test_who_has_the_token_is_answered(ask: Ask, path: Path) -> None:
    """Who sends the token of the file gets the route's answer."""
    assert await ask(Guard.read(path), Authorization=f"Bearer {TOKEN}") == (200, {"body": "why?"})


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", f"bearer {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, "Bearer ü", "Basic eA=="],
)
async def test_anything_else_is_refused(ask: Ask, path: Path, value: str) -> None:
    """Another token, a part of it and another scheme are 401, and nothing of the token is told."""
    status, told = await ask(Guard.read(path), Authorization=value)
    assert (status, told) == (401, {"error": "expected the edge's admin token as Authorization: Bearer"})


async def test_nobody_is_let_through_without_a_token(ask: Ask) -> None:
    """Where the edge has no token there is none that fits, and what is missing is said."""
    for value in ("Bearer ", "Bearer None", f"Bearer {TOKEN}"):
        status, told = await ask(Guard.read(None), Authorization=value)
        assert status == 403
        assert told["error"].startswith("expected admin_token_file in the edge's settings")


async def test_token_is_compared_in_constant_time(ask: Ask, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is hmac's, which takes as long for a wrong first letter as for a wrong last one."""
    compared = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append(given)
        return given == expected

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert (await ask(Guard.read(path), Authorization="Bearer guess"))[0] == 401
    assert compared == [b"Bearer guess"]


@pytest.mark.parametrize(
    "text",
    ["", "short", "x" * (MIN_TOKEN_CHARS - 1), "x" * (MAX_TOKEN_CHARS + 1), f"{TOKEN}\n{TOKEN}", f"{TOKEN} {TOKEN}"],
)
def test_file_without_a_token(path: Path, text: str) -> None:
    """What is too short to be safe, or more than one token, is refused by a message that names the file alone."""
    path.write_text(text, "ascii")
    with pytest.raises(
        TokenFileError, match=r"admin_token_file .*token: expected one token of 16 to 1024 char"
    ) as caught:
        Guard.read(path)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_file_that_cannot_be_read(path: Path) -> None:
    """A file that is not there, or is no text, is refused."""
    path.write_bytes(b"\xfftoken-of-sixteen-and-more")
    with pytest.raises(TokenFileError, match="it is not ASCII"):
        Guard.read(path)
    path.unlink()
    with pytest.raises(TokenFileError, match="No such file"):
        Guard.read(path)


def test_bounds_are_allowed(path: Path) -> None:
    """The shortest and the longest token are tokens."""
    for size in (MIN_TOKEN_CHARS, MAX_TOKEN_CHARS):
        path.write_text("x" * size, "ascii")
        Guard.read(path)


async def test_token_stands_in_no_log_and_no_repr(ask: Ask, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither what is expected nor what was sent is written anywhere."""
    caplog.set_level(logging.DEBUG)
    guard = Guard.read(path)
    await ask(guard, Authorization=f"Bearer {TOKEN}")
    await ask(guard, Authorization="Bearer guessed-token-of-somebody")
    assert TOKEN not in repr(guard)
    assert TOKEN not in caplog.text
    assert "guessed" not in caplog.text
