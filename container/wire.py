"""The device's wire as values: PURE encoding of questions and reports, strict and bounded decoding of answers.

Members that an answer has and this version does not know are ignored, so that older containers can ask newer edges.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from container.device import Device
from container.errors import EdgeError, OverloadedError

# 200 updates with offer, signature and transfers have about 1 MiB. An endless answer would fill a device's memory.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# No error message needs more; a page of some proxy in between is cut off.
MAX_ERROR_BYTES = 16 * 1024
MAX_PROGRAMS = 200
MAX_EVENTS = 100
# How many events go in one report: a body has 65,536 bytes at most, a device's tags may take half of them.
MAX_REPORTED = 25
# A wait that an edge may ask for: a day. More would be a device that never asks again.
MAX_WAIT_S = 86_400
# A day, and the tenth of it by which edges spread polling.
MAX_POLL_AFTER_S = MAX_WAIT_S + MAX_WAIT_S // 10
_TOO_MANY_REQUESTS = 429
_OK, _ACCEPTED, _SERVER_ERROR = 200, 202, 500

Size = Annotated[int, Meta(ge=0, le=2**53 - 1)]
# As long as the contract lets texts be, and names much longer: without an end, an edge could fill what a device keeps.
_Name = Annotated[str, Meta(max_length=256)]
_Url = Annotated[str, Meta(max_length=2048)]
_Token = Annotated[str, Meta(max_length=8192)]


class Transfer(msgspec.Struct, frozen=True):
    """A way to move a package: `url` may be relative to the edge; `base` is the version that a delta starts from."""

    format: _Name
    url: _Url
    size: Size
    sha256: _Name
    base: _Name = msgspec.field(default="", name="from")


class Update(msgspec.Struct, frozen=True):
    """Something to do with a program; a remove has neither version nor package. `key` opens a sealed package."""

    program: _Name
    action: Literal["install", "rollback", "remove"]
    offer: _Token
    version: _Name = ""
    release: _Name = ""
    urgency: _Name = "silent"
    download: _Name = "any"
    install: _Name = "open"
    size: Size = 0
    sha256: _Name = ""
    signature: _Token = ""
    transfers: Annotated[tuple[Transfer, ...], Meta(max_length=32)] = ()
    extra: dict[str, Any] = {}
    key: _Name = ""

    def __repr__(self) -> str:
        # The key shows nowhere: whoever prints an update does not mean it.
        told = ((name, getattr(self, name)) for name in self.__struct_fields__ if name != "key")
        return f"Update({', '.join(f'{name}={value!r}' for name, value in told)})"


class Answer(msgspec.Struct, frozen=True):
    """What an edge says: at most an update a program, and in how many seconds to ask again."""

    revision: int
    poll_after: Annotated[int, Meta(ge=0, le=MAX_POLL_AFTER_S)]
    updates: Annotated[tuple[Update, ...], Meta(max_length=MAX_PROGRAMS)] = ()
    unknown: tuple[str, ...] = ()
    root: int = 0


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str = ""


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a version on this device: the program went from one version (`before`) to another (`after`)."""

    program: str
    before: str
    after: str
    release: str
    outcome: Literal["downloaded", "activated", "confirmed", "failed", "fell_back"]
    reason: str = ""
    transfer: str = ""
    bytes: int = 0
    ms: int = 0


class Event(Happening, frozen=True):
    """A happening, for a report; `at` in seconds, `nonce` so that a repeated report counts once."""

    at: int
    nonce: str


def encode_question(workspace: str, device: Device, programs: Mapping[str, str], trials: Sequence[str] = ()) -> bytes:
    """Returns the body of a check about programs, each with the version installed or an empty text.

    `trials` are tokens of versions that the user may try.
    """
    more = {"trials": trials} if trials else {}
    return msgspec.json.encode({"workspace": workspace, "device": _tell(device), "programs": programs, **more})


def encode_report(workspace: str, device: Device, events: Iterable[Event]) -> bytes:
    """Returns the body of a report."""
    told = [{"from": event.before, "to": event.after, **_members(event)} for event in events]
    return msgspec.json.encode({"workspace": workspace, "device": _tell(device), "events": told})


def decode_answer(body: bytes, asked: Sequence[str]) -> Answer:
    """Returns the answer in the body of a 200.

    Raises:
        EdgeError: it is malformed, or has an update twice or for a program that was not asked about.
    """
    try:
        answer = msgspec.json.decode(body, type=Answer)
    except (ValueError, RecursionError) as error:
        raise EdgeError(f"expected the answer of an edge, got something else: {error}", _OK) from error
    programs = [update.program for update in answer.updates]
    if len(set(programs)) < len(programs) or not set(programs) <= set(asked):
        raise EdgeError(f"expected at most one update for each program asked about, got {programs!r:.200}", _OK)
    return answer


def explain_status(status: int, headers: Mapping[str, str], body: bytes) -> EdgeError:
    """Returns the error for an answer that is no success; `headers` have lower-case names."""
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
    except (ValueError, RecursionError):
        error = _Error("")  # a proxy's page, or a body that was cut
    words = f"{status} {error.code!r:.60} {error.message!r:.200}"
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        wait_s = read_retry_after(headers.get("retry-after", ""))
        return OverloadedError(f"the edge cannot answer now, try again later: {words}", status, error.code, wait_s)
    return EdgeError(f"the edge refuses the request, see its operator: {words}", status, error.code)


def read_retry_after(text: str) -> int:
    """Returns the seconds of a Retry-After, at most a day; 0 for anything but whole seconds."""
    digits = text.strip()
    return min(int(digits[:9]), MAX_WAIT_S) if digits.isascii() and digits.isdigit() else 0


def is_success(status: int) -> bool:
    """Says whether a status is one of the two that edges answer with."""
    return status in (_OK, _ACCEPTED)


def _tell(device: Device) -> dict[str, Any]:
    members = {field.name: getattr(device, field.name) for field in fields(device)}
    return {name: value for name, value in {**members, "tags": dict(device.tags)}.items() if value}


def _members(event: Event) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(event).items() if name not in ("before", "after")}
