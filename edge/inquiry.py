"""What operators and a company's back ends ask of a host's decisions: why this one, and which ones for many users.

It answers from edge.db, or from the document that it is given, and asks nobody: where a window would have to be asked,
it says so. It runs in the syncer, whose loop it never holds for long; only who has the admin token gets here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar

import msgspec
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Meta, Struct
from msgspec.structs import replace

from channel import DocumentName
from channel.envelope import cut_payload
from edge.body import Text
from edge.cache import Cache
from edge.errors import CacheError, EdgeError, RefusedError
from edge.kind import PROGRAM
from edge.question import VERSIONS
from edge.sample import Reservoir
from ruleset import (
    MAX_DOCUMENT_BYTES,
    Circumstances,
    CompiledProgram,
    CompiledRelease,
    Device,
    DocumentError,
    Program,
    Reason,
    compile_program,
    evaluate,
    explain,
    format_version,
    parse_program,
)
from ruleset.model import Text as UserId
from ruleset.model import Time

# A document of the largest size, and a question about it; or 1,000 devices that say much of themselves.
MAX_BODY_BYTES: Final = MAX_DOCUMENT_BYTES + (1 << 20)
# A body that trickles in would hold its connection for ever. In seconds.
BODY_TIMEOUT_S: Final = 10.0
# Asked about at once: 20,000 decisions take a tenth of a second.
MAX_USERS: Final = 1_000
MAX_PROGRAMS: Final = 20
# Decisions before the loop gets its turn, about a millisecond: a syncer that is asked much still follows Redis.
SLICE: Final = 100

_Question = TypeVar("_Question")


class ExplainQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a device gets what it gets of one program.

    `document` is another document than the host's own, in the published form. `proven` says whether the user is proven;
    where it is absent, the user is in workspaces that want proof. Without `at` it is asked as of now. `trial` is the
    version that a trial of the user gives; who is not proven has none.
    """

    workspace: Text
    program: Text
    device: Device
    installed: Text = ""
    at: Time | None = None
    proven: bool | None = None
    trial: Text = ""
    document: msgspec.Raw = msgspec.Raw()


class EvaluateQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """Which release each of many has of each program, and why.

    Either `devices`, or `users`, each of whom has the facts of `device` (with an `id` of the user's own where it says
    none). `programs` has the version that is installed, empty for none, by the program's id.
    """

    workspace: Text
    programs: Annotated[dict[Text, Text], Meta(min_length=1, max_length=MAX_PROGRAMS)]
    devices: Annotated[list[Device], Meta(min_length=1, max_length=MAX_USERS)] | None = None
    users: Annotated[list[UserId], Meta(min_length=1, max_length=MAX_USERS)] | None = None
    device: dict[str, Any] | None = None
    at: Time | None = None
    proven: bool | None = None


class InquiryError(EdgeError):
    """A question that gets no answer.

    Args:
        status: whose fault it is.
        code: for scripts.
        message: what was expected and what came.
        path: the JSON path of the place in the question, where there is one.
    """

    def __init__(self, status: HTTPStatus, code: str, message: str, path: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.path = status, code, message, path

    def answer(self) -> web.Response:
        """Returns what is told."""
        place = {"path": self.path} if self.path else {}
        error = {"code": self.code, "message": self.message, **place}
        return web.json_response({"error": error}, status=self.status)


class _Loaded(Struct, frozen=True, gc=False):
    """A program's document, and what it was compiled to."""

    document: Program
    compiled: CompiledProgram


class Inquiry:
    """Answers what is asked of a host's decisions.

    Args:
        cache: the host's edge.db.
        surround: returns the lists of a workspace that decide a program, as they are known here.
        workspaces: those that this host serves.
        reservoir: the sample of the questions that were asked here.
        proven: the workspaces whose users have to be proven.
        clock: the time in seconds.
    """

    def __init__(
        self,
        cache: Cache,
        surround: Callable[[str, CompiledProgram], Circumstances],
        workspaces: Container[str],
        reservoir: Reservoir,
        proven: Container[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._surround, self._clock = cache, surround, clock
        self._workspaces, self._proven, self._reservoir = workspaces, proven, reservoir

    def list_routes(self) -> list[web.RouteDef]:
        """Returns its routes, to be protected."""
        return [
            web.post("/v1/explain", _answer_errors(self._explain)),
            web.post("/v1/evaluate", _answer_errors(self._evaluate)),
            web.get("/v1/samples", self._tell_samples),
        ]

    async def _explain(self, body: bytes) -> dict[str, Any]:
        question = _decode(body, _explain_decoder)
        self._check_workspace(question.workspace)
        loaded = self._load(question.workspace, question.program, bytes(question.document))
        around = self._find_around(question, loaded.compiled)
        installed = _read_installed(question.installed, "$.installed")
        if question.trial and around.is_proven:
            around = replace(around, trials={question.program: _read_installed(question.trial, "$.trial")})
        now = int(self._clock()) if question.at is None else question.at
        device = self._identify(question.device, question.workspace, is_proven=around.is_proven)
        explained = explain(loaded.compiled, loaded.document, device, installed, now, around)
        document = loaded.document
        return {
            "workspace": question.workspace,
            "epoch": document.epoch,
            "revision": document.revision,
            "proven": around.is_proven,
            "offers_expire": document.offers.expires if document.offers else None,
            **msgspec.to_builtins(explained),
        }

    async def _tell_samples(self, request: web.Request) -> web.Response:
        try:
            workspace = self._check_workspace(request.query.get("workspace", ""))
        except InquiryError as error:
            return error.answer()
        told = self._reservoir.tell(workspace, int(self._clock()))
        return web.Response(body=told, content_type="application/json")

    async def _evaluate(self, body: bytes) -> dict[str, Any]:
        question = _decode(body, _evaluate_decoder)
        workspace = self._check_workspace(question.workspace)
        asked = list(_list_devices(question))
        is_proven = self._is_proven(question)
        devices = [self._identify(device, workspace, is_proven=is_proven) for device in asked]
        now = int(self._clock()) if question.at is None else question.at
        results: list[dict[str, Any]] = [_name_device(device, question) for device in asked]
        for program, version in question.programs.items():
            installed = _read_installed(version, f"$.programs[{program!r}]")
            compiled = self._load(workspace, program).compiled
            around = self._find_around(question, compiled)
            for start in range(0, len(devices), SLICE):
                await asyncio.sleep(0)
                for i, device in enumerate(devices[start : start + SLICE], start):
                    results[i]["programs"][program] = _tell(*evaluate(compiled, device, installed, now, around))
        return {"workspace": workspace, "at": now, "proven": is_proven, "results": results}

    def _is_proven(self, question: "ExplainQuestion | EvaluateQuestion") -> bool:
        return question.workspace in self._proven if question.proven is None else question.proven

    def _find_around(self, question: "ExplainQuestion | EvaluateQuestion", program: CompiledProgram) -> Circumstances:
        return replace(self._surround(question.workspace, program), is_proven=self._is_proven(question))

    def _check_workspace(self, workspace: str) -> str:
        if workspace not in self._workspaces:
            message = f"expected a workspace that is served here, got {workspace!r}"
            raise InquiryError(HTTPStatus.NOT_FOUND, "unknown_workspace", message, "$.workspace")
        return workspace

    def _identify(self, device: Device, workspace: str, *, is_proven: bool) -> Device:
        """As at a check: where users have to be proven, one who is not does not count."""
        return replace(device, user=None) if workspace in self._proven and not is_proven else device

    def _load(self, workspace: str, program: str, given: bytes = b"") -> _Loaded:
        path = "$.document" if given else "$.program"
        try:
            document = parse_program(given or self._read(workspace, program))
            loaded = _Loaded(document, compile_program(document))
        except DocumentError as error:
            raise InquiryError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "bad_document", error.message, f"{path}{error.path.removeprefix('$')}"
            ) from None
        if document.program != program:
            message = f"expected a document of {program!r}, got one of {document.program!r}"
            raise InquiryError(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_document", message, f"{path}.program")
        return loaded

    def _read(self, workspace: str, program: str) -> bytes:
        try:
            envelope = self._cache.read_envelope(workspace, DocumentName(PROGRAM, program))
        except CacheError as error:
            raise InquiryError(HTTPStatus.SERVICE_UNAVAILABLE, "cache_failed", str(error)) from None
        if envelope is None:
            message = f"expected a program of {workspace!r}, got {program!r}"
            raise InquiryError(HTTPStatus.NOT_FOUND, "unknown_program", message, "$.program")
        return cut_payload(envelope)


_explain_decoder = msgspec.json.Decoder(ExplainQuestion)
_evaluate_decoder = msgspec.json.Decoder(EvaluateQuestion)


def _answer_errors(answer: Callable[[bytes], Awaitable[Mapping[str, Any]]]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            told = await answer(await _read_body(request))
        except InquiryError as error:
            return error.answer()
        return web.Response(body=orjson.dumps(told), content_type="application/json")

    return handle


async def _read_body(request: web.Request) -> bytes:
    """The body, bounded as it comes: aiohttp's own bound is below a document's."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.content.iter_any():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    message = f"expected a body of at most {MAX_BODY_BYTES} bytes, got more"
                    raise InquiryError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)
                parts.append(part)
    except TimeoutError:
        message = f"expected the body within {BODY_TIMEOUT_S:.0f} s"
        raise InquiryError(HTTPStatus.REQUEST_TIMEOUT, "too_slow", message) from None
    return b"".join(parts)


def _decode(body: bytes, decoder: "msgspec.json.Decoder[_Question]") -> _Question:
    try:
        body.decode()
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _locate(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"expected a JSON object in UTF-8 ({error})"
        raise InquiryError(HTTPStatus.BAD_REQUEST, "malformed_json", message) from None


def _locate(message: str, root: str = "$") -> InquiryError:
    """A decoder's message, which ends with the path where there is one."""
    what, _, path = message.partition(" - at `")
    place = f"{root}{path.removesuffix('`').removeprefix('$')}"
    return InquiryError(HTTPStatus.BAD_REQUEST, "bad_field", what[:1].lower() + what[1:], place)


def _read_installed(text: str, path: str) -> int:
    try:
        return VERSIONS[text]
    except RefusedError as error:
        raise InquiryError(HTTPStatus.BAD_REQUEST, "bad_field", error.message.partition(" - at ")[0], path) from None


def _list_devices(question: EvaluateQuestion) -> Iterable[Device]:
    if (question.devices is None) is (question.users is None):
        message = "expected either devices or users"
        raise InquiryError(HTTPStatus.BAD_REQUEST, "bad_field", message, "$")
    if question.devices is not None:
        return question.devices
    return _make_devices(question.users or [], question.device or {})


def _make_devices(users: Iterable[str], facts: Mapping[str, Any]) -> Iterator[Device]:
    for user in users:
        try:
            yield msgspec.convert({"id": user, **facts, "user": user}, Device)
        except msgspec.ValidationError as error:
            raise _locate(str(error), "$.device") from None


def _tell(release: CompiledRelease | None, reason: Reason) -> dict[str, Any]:
    if release is None:
        return {"release": None, "reason": reason}
    return {"release": release.id, "reason": reason, "version": format_version(release.version)}


def _name_device(device: Device, question: EvaluateQuestion) -> dict[str, Any]:
    name = {"id": device.id} if question.devices is not None else {"user": device.user}
    return {**name, "programs": {}}
