"""What commands say to a publisher: read a document, change it, put it back."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from cli.admin import read_token
from cli.exit import CommandError, Exit
from cli.home import Home
from cli.http import PUBLISH_TIMEOUT_S, Answer, ask

# The kinds of documents; a document of each has its id in the member of the kind's name.
KINDS: Final = ("program", "audience", "switches")


def find_name(document: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the kind and the id of a document; what says neither passes for a program, which a publisher refuses."""
    kind = next((kind for kind in KINDS if kind in document), KINDS[0])
    return kind, str(document.get(kind))


class Publisher:
    """A publisher, as a control plane sees it.

    Args:
        url: where it listens.
        token: its bearer token.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, id_: str, kind: str = KINDS[0]) -> tuple[dict[str, Any] | None, str]:
        """Returns a document and its revision; None where there is none yet.

        Raises:
            CommandError: the publisher is away, or refuses.
        """
        answer = ask("GET", self._name(id_, kind), headers=self._headers, allow=(HTTPStatus.NOT_FOUND,))
        if answer.status == HTTPStatus.NOT_FOUND:
            return None, ""
        return answer.body, answer.etag

    def get_revision(self, program: str, revision: int) -> dict[str, Any]:
        """Returns a program's document as it was published under a revision; raises CommandError."""
        return self._get_past(f"{self._name(program)}/revisions/{revision}")

    def get_past(self, program: str, at: int) -> dict[str, Any]:
        """Returns a program's document as it was published last at a time in seconds; raises CommandError."""
        return self._get_past(f"{self._name(program)}/revisions?at={at}")

    def _get_past(self, url: str) -> dict[str, Any]:
        document: dict[str, Any] = ask("GET", url, headers=self._headers).body
        return document

    def list_names(self) -> list[tuple[str, str]]:
        """Returns the kind and the id of each document that is published.

        Raises:
            CommandError: the publisher is away, refuses, or answers something else.
        """
        url = f"{self._url}/v1/documents"
        answer = ask("GET", url, headers=self._headers)
        try:
            return [(str(one["kind"]), str(one["id"])) for one in answer.body["documents"]]
        except (KeyError, TypeError):
            raise CommandError(f"GET {url}: expected a list of documents, got another answer", Exit.FAILED) from None

    def put(self, document: dict[str, Any], revision: str, *, dry_run: bool = False) -> Answer:
        """Publishes a document over the revision that it was made from, an empty one where there was none.

        Warns where edges do not have it yet: whoever waits for devices must not wait in vain.

        Raises:
            CommandError: the publisher is away, or refuses; somebody else having published in between is a refusal.
        """
        precondition = {"If-Match": f'"{revision}"'} if revision else {"If-None-Match": "*"}
        kind, id_ = find_name(document)
        url = self._name(id_, kind) + ("?dry_run=1" if dry_run else "")
        headers = self._headers | precondition
        answer = ask("PUT", url, body=document, headers=headers, timeout_s=PUBLISH_TIMEOUT_S)
        if answer.body.get("distributed") is False:
            click.echo("warning: kept, but edges do not have it yet: the publisher's log says why", err=True)
        return answer

    def make_trial(self, program: str, version: str, users: Sequence[str], expires: int) -> dict[str, Any]:
        """Returns a trial: its id, when it expires, and the token.

        Raises:
            CommandError: the publisher is away, or refuses.
        """
        wish = {"program": program, "version": version, "users": list(users), "expires": expires}
        made: dict[str, Any] = ask("POST", f"{self._url}/v1/trials", body=wish, headers=self._headers).body
        return made

    def _name(self, id_: str, kind: str = KINDS[0]) -> str:
        return f"{self._url}/v1/documents/{kind}/{quote(id_, safe='')}"


def open_publisher(home: Home, url: str | None, token_file: Path | None) -> Publisher:
    """Returns the publisher that options name, or the one of the data folder.

    Raises:
        CommandError: none runs there, or the token cannot be read.
    """
    address = url or home.read_address("publisher")
    return Publisher(address, read_token(token_file or home.token, "the publisher's token"))
