"""HTTP for commands: one request, its answer as JSON, and every failure a CommandError with the exit code that fits."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import urllib3

from cli.exit import CommandError, Exit

TIMEOUT_S = 10.0
# A publisher fetches the files that a document names before it publishes it: 300 s at most.
PUBLISH_TIMEOUT_S = 330.0
_pool = urllib3.PoolManager(retries=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its status, its ETag without quotes, its JSON."""

    status: int
    etag: str
    body: Any


def ask(
    method: str, url: str, *, body: object = None, headers: Mapping[str, str] | None = None,
    allow: tuple[int, ...] = (), timeout_s: float = TIMEOUT_S,
) -> Answer:  # fmt: skip
    """Returns the answer to a request whose body, if any, is sent as JSON.

    Args:
        method: of HTTP.
        url: where.
        body: what to send; bytes go as they are.
        headers: more than Content-Type.
        allow: statuses from 400 that the caller deals with.
        timeout_s: how long to wait for a connection, and for each part of the answer.

    Raises:
        CommandError: USAGE for what is no address; UNREACHABLE, also by an answer that is none of Graywave's; REFUSED
            with the server's own words.
    """
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"expected an address such as http://127.0.0.1:8080, got {url!r}", Exit.USAGE)
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    try:
        response = _pool.request(
            method, url, body=data, headers={"Content-Type": "application/json", **(headers or {})}, timeout=timeout_s
        )
    except urllib3.exceptions.HTTPError as error:
        raise CommandError(f"{url} cannot be reached: {escape(str(error))}", Exit.UNREACHABLE) from None
    answer = Answer(response.status, response.headers.get("ETag", "").strip('"'), _read_json(response.data))
    if answer.status >= HTTPStatus.BAD_REQUEST and answer.status not in allow:
        raise CommandError(f"{method} {url}: {_read_refusal(answer)}", Exit.REFUSED)
    if answer.status < HTTPStatus.BAD_REQUEST and not isinstance(answer.body, dict):
        got = f"status {answer.status} and {answer.body!r:.100}"
        raise CommandError(f"{method} {url}: expected a JSON object, got {got}", Exit.UNREACHABLE)
    return answer


def escape(text: str) -> str:
    """Returns text from elsewhere as a terminal may see it: what is not printable, escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _read_json(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        return data.decode("utf-8", "backslashreplace")


def _read_refusal(answer: Answer) -> str:
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    if isinstance(error, str):
        return escape(error)
    if not isinstance(error, dict):
        return f"status {answer.status}"
    place = f"{error['path']}: " if error.get("path") else ""
    return escape(f"{error.get('code')}: {place}{error.get('message')}")
