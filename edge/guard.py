"""Who may ask the admin listener what not everybody in the operators' network may: those with the host's bearer token.

It knows the token and no question. The token is read once, compared in constant time, and shown nowhere.
"""

import hmac
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

from aiohttp import web

from edge.errors import EdgeError

# Shorter ones can be guessed over the network.
MIN_TOKEN_CHARS: Final = 16
# A header's value that is longer is refused by aiohttp anyway; a file that is was not meant.
MAX_TOKEN_CHARS: Final = 1_024


class TokenFileError(EdgeError, ValueError):
    """The file of the admin token holds none; its operator must write one."""


class Guard:
    """Lets those through who send the token as `Authorization: Bearer`; without a token nobody.

    Args:
        token: what has to be sent; None where no protected route is to be served.
    """

    def __init__(self, token: str | None = None) -> None:
        self._expected = None if token is None else f"Bearer {token}".encode()

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Returns the guard of the token in a file, and one that lets nobody through where no file is set.

        Raises:
            TokenFileError: the file cannot be read, or holds no token; the message does not show what it holds.
        """
        if path is None:
            return cls()
        try:
            token = path.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
            raise TokenFileError(f"admin_token_file {path}: expected a file that can be read: {reason}") from None
        if not (MIN_TOKEN_CHARS <= len(token) <= MAX_TOKEN_CHARS and token.isprintable() and " " not in token):
            wanted = f"one token of {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} characters"
            raise TokenFileError(f"admin_token_file {path}: expected {wanted}, got {len(token)} characters")
        return cls(token)

    def protect(self, route: web.RouteDef) -> web.RouteDef:
        """Returns the route with 403 for everybody where the host has no token, and 401 for who does not send it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return self._refuse(request) or await route.handler(request)

        return web.route(route.method, route.path, handle, **route.kwargs)

    def _refuse(self, request: web.Request) -> web.Response | None:
        """A refusal is made before a body is read."""
        if self._expected is None:
            told = {"error": "expected admin_token_file in the edge's settings: without it nobody may ask this"}
            return web.json_response(told, status=HTTPStatus.FORBIDDEN)
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if hmac.compare_digest(given, self._expected):
            return None
        told = {"error": "expected the edge's admin token as Authorization: Bearer"}
        return web.json_response(told, status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
