"""OFREP 0.3.0 for the switches of a workspace: a body and a few fields of the head in, a status and bytes out.

The wire is `contract/ofrep.md`'s. No transport is known here, and nothing is decided that a board does not decide.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Self
from urllib.parse import unquote

import msgspec
import orjson
from msgspec import Struct

from channel import NOWHERE
from edge.answer import Workspace
from edge.body import MAX_STRING, decode_body
from edge.errors import RETRY_AFTER_S, RefusedError
from edge.exchange import INTERACTIVE, Rules, find_purpose
from edge.sender import Sender
from edge.switch import Board
from ruleset import Circumstances, Device

WORKSPACE: Final = b"x-graywave-workspace"
NONE_MATCH: Final = b"if-none-match"
# The fields of a head that decide, in small letters.
WANTED: Final = (WORKSPACE, NONE_MATCH, INTERACTIVE)
# The whole numbers that every client tells exactly.
MAX_WHOLE: Final = 1 << 53
# Of a key that nobody has, as much as this is told again, in characters.
MAX_SHOWN_KEY: Final = 128
# A device's members between its id and its tags, in their order.
_TEXTS: Final = Device.__struct_fields__[1:-1]
_RESERVED: Final = frozenset({"targetingKey", *_TEXTS})
# How OFREP calls what is wrong with a body.
_CODES: Final = {"malformed_json": "PARSE_ERROR", "missing_field": "INVALID_CONTEXT", "bad_field": "INVALID_CONTEXT"}


class Reply(NamedTuple):
    """What is answered: JSON, or for `not_modified` nothing."""

    status: HTTPStatus
    body: bytes
    etag: bytes = b""
    retry_after_s: int = RETRY_AFTER_S


class _Request(Struct, frozen=True, gc=False):
    context: dict[str, Any] | None = None


class _FaultError(Exception):
    """Ends a request with an error."""

    def __init__(self, status: HTTPStatus, code: str, details: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        self.status, self.code, self.details, self.retry_after_s = status, code, details, retry_after_s

    @classmethod
    def of(cls, error: RefusedError) -> Self:
        """A refusal, in OFREP's words."""
        return cls(error.status, _CODES.get(error.code, "GENERAL"), error.message, error.retry_after_s)


_decoder = msgspec.json.Decoder(_Request)


def answer_flags(rules: Rules, sender: Sender, segment: bytes, body: bytes) -> Reply:
    """Returns the answer to a question for switches.

    Args:
        rules: what it is answered from.
        sender: with the fields that are WANTED.
        segment: of the address, what follows `flags/`, as it came; empty where all switches are asked for.
        body: as it came.
    """
    rules.counters.flag_requests += 1
    try:
        return _answer_one(rules, sender, segment, body) if segment else _answer_all(rules, sender, body)
    except _FaultError as fault:
        rules.counters.refused += 1
        told = {"key": _read_key(segment)} if segment else {}
        body = orjson.dumps({**told, "errorCode": fault.code, "errorDetails": fault.details})
        return Reply(fault.status, body, retry_after_s=fault.retry_after_s)


def _answer_all(rules: Rules, sender: Sender, body: bytes) -> Reply:
    """What the client has already is not evaluated."""
    workspace = _find_workspace(rules, sender, "GENERAL")
    board = workspace.switches
    device, around = _identify(rules, workspace, sender, body)
    etag = board.make_etag(device, rules.now)
    if _has_tag(sender.fields.get(NONE_MATCH, ()), etag):
        rules.counters.flags_unchanged += 1
        return Reply(HTTPStatus.NOT_MODIFIED, b"", etag)
    try:
        with rules.spending(find_purpose(sender)):
            flags = b",".join([told.item for told in board.tell_all(device, rules.now, around)])
    except RefusedError as error:
        raise _FaultError.of(error) from None
    return Reply(HTTPStatus.OK, b'{"flags":[%b],"metadata":{"version":"%b"}}' % (flags, board.mark), etag)


def _answer_one(rules: Rules, sender: Sender, segment: bytes, body: bytes) -> Reply:
    workspace = _find_workspace(rules, sender, "FLAG_NOT_FOUND")
    device, around = _identify(rules, workspace, sender, body)
    key = _read_key(segment)
    told = workspace.switches.tell(key, device, rules.now, around)
    if told is None:
        message = f"no switch {key!r} in workspace {workspace.name!r}"
        raise _FaultError(HTTPStatus.NOT_FOUND, "FLAG_NOT_FOUND", message)
    return Reply(HTTPStatus.BAD_REQUEST if told.is_error else HTTPStatus.OK, told.item)


def _read_key(segment: bytes) -> str:
    return unquote(segment.decode("ascii", "backslashreplace"))[:MAX_SHOWN_KEY]


def _find_workspace(rules: Rules, sender: Sender, unknown: str) -> Workspace:
    """The workspace that is named, or the only one, where its rules have arrived; `unknown` is the code without one."""
    workspaces = rules.workspaces
    name = sender.find_one(WORKSPACE).decode("ascii", "backslashreplace")
    found = workspaces.get(name) if name else next(iter(workspaces.values())) if len(workspaces) == 1 else None
    if found is None:
        message = f"no workspace {name!r} is served here" if name else "expected X-Graywave-Workspace, got none"
        raise _FaultError(HTTPStatus.NOT_FOUND, unknown, message)
    try:
        rules.limit(found.name, sender)
    except RefusedError as error:
        raise _FaultError.of(error) from None
    if found.position is NOWHERE:
        message = f"the rules of {found.name!r} have not arrived yet"
        raise _FaultError(HTTPStatus.SERVICE_UNAVAILABLE, "GENERAL", message)
    return found


def _identify(rules: Rules, workspace: Workspace, sender: Sender, body: bytes) -> tuple[Device, Circumstances]:
    """Who asks, and the lists that this is decided by."""
    reception = rules.reception
    try:
        said = decode_body(body, _decoder).context if body else None
        if reception is None:
            return read_context(said or {}, workspace.switches), workspace.around
        is_proving = reception.is_proving(workspace.name)
        device = read_context(said or {}, workspace.switches, is_proving=is_proving)
        device, is_proven = reception.receive(workspace.name, device, sender, rules.now)
    except RefusedError as error:
        raise _FaultError.of(error) from None
    return device, workspace.around_proven if is_proven else workspace.around


def _has_tag(fields: Iterable[bytes], etag: bytes) -> bool:
    """Whether If-None-Match names a tag, alone or in a list, weak or not."""
    return any(
        field == etag or etag in [one.strip().removeprefix(b"W/") for one in field.split(b",")] for field in fields
    )


def read_context(context: Mapping[str, Any], board: Board, *, is_proving: bool = False) -> Device:
    """Returns the device that a context speaks of, with those of its tags that the board's conditions ask for.

    Its id is empty where there is no targeting key, and so is its platform.

    Args:
        context: OFREP's.
        board: whose conditions may ask for it.
        is_proving: whether a user has to be proven; then the targeting key names none.

    Raises:
        RefusedError: `bad_field`, a targeting key that is none.
    """
    get = context.get
    key = get("targetingKey") or ""
    if not isinstance(key, str) or len(key) > MAX_STRING:
        raise RefusedError("bad_field", f"expected a targetingKey of at most {MAX_STRING} characters, got another")
    texts = [_read_text(get(name)) for name in _TEXTS]
    tags = {name: text for name in board.asked if name not in _RESERVED and (text := _read_text(get(name)))}
    platform, user, *others = texts
    # The words are wider than a check's: any text will do.
    return Device(key, platform or "", user or (None if is_proving else key), *others, tags)  # type: ignore[arg-type,call-arg]


def _read_text(value: Any) -> str | None:
    """An attribute's text, None where it has none that a condition could ask for."""
    if isinstance(value, str):
        return value if len(value) <= MAX_STRING else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and -MAX_WHOLE < value < MAX_WHOLE and value == int(value):
        return str(int(value))
    return None
