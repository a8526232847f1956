"""Trials: what a control plane may ask for, read strictly, and the claim that comes of it. Pure: the time comes in.

Whether the program's document lists the version is judged here, since a trial of another would give nobody anything.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from publisher.errors import BadDocumentError, BadRequestError
from ruleset import VersionError, parse_version
from ruleset.model import Program
from trust import TrialClaim

# An edge takes no longer token: a hundred users with ids of usual length have 6,000 characters.
MAX_TOKEN_CHARS: Final = 8_192
# Bytes of a trial's id, by which it is told of.
ID_BYTES: Final = 8


class TrialWish(Struct, frozen=True, forbid_unknown_fields=True):
    """What a control plane asks for; `expires` is in seconds since 1970."""

    program: str
    version: str
    users: Annotated[list[str], Meta(min_length=1)]
    expires: int


def read_wish(body: bytes) -> TrialWish:
    """Returns the wish that a request's body is.

    Raises:
        BadRequestError: it is none, and why.
    """
    try:
        return msgspec.json.decode(body, type=TrialWish)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"expected a trial's program, version, users and expires: {error}") from error


def check_listed(wish: TrialWish, program: Program) -> None:
    """Returns if a document lets trials give the version that is wished for.

    Raises:
        BadRequestError: it is no version.
        BadDocumentError: the document does not list it under `trials`.
    """
    try:
        version = parse_version(wish.version)
    except VersionError as error:
        raise BadRequestError(f"$.version: {error}") from error
    if version not in map(parse_version, program.trials):
        listed = ", ".join(program.trials) or "none"
        raise BadDocumentError("$.trials", f"expected {wish.version!r} among the document's trials, got {listed}")


def make_claim(wish: TrialWish, workspace: str, now: int, id_: str) -> TrialClaim:
    """Returns the claim to sign; a user who is named twice stands in it once.

    Raises:
        BadRequestError: it would expire at once, or too late.
    """
    users = tuple(dict.fromkeys(wish.users))
    try:
        return TrialClaim(
            workspace=workspace,
            program=wish.program,
            version=wish.version,
            users=users,
            id=id_,
            issued=now,
            expires=wish.expires,
        )
    except ValueError as error:
        raise BadRequestError(f"$.expires: {error}") from error
