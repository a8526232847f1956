"""The publisher's HTTP, as `contract/publish.md` has it: requests into wishes, outcomes and errors into answers.

What may be published is not decided here. The control plane is trusted with documents, never with bytes or time.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import orjson
from aiohttp import web

from channel import DocumentName, KeyNameError
from channel.envelope import cut_payload
from publisher.draft import Doubt
from publisher.errors import (
    BadDocumentError,
    BadRequestError,
    ConflictError,
    ContendedError,
    EpochExhaustedError,
    FastForwardError,
    PreconditionRequiredError,
    PublisherError,
    RootChainError,
    SigningError,
    StoreError,
    UnknownDocumentError,
)
from publisher.precondition import Precondition, is_listed, make_tag, read_tags
from publisher.proposal import Wish
from publisher.store import Record
from publisher.trial import read_wish
from publisher.writer import Outcome, Preview, Writer
from ruleset.document import MAX_DOCUMENT_BYTES

# A body that trickles in would hold its connection for ever. In seconds.
BODY_TIMEOUT_S = 10.0

MAX_DIGITS = 18

# By whom it is to be mended, and how it is called on the wire; a code never changes.
_ERRORS: Final[Mapping[type[PublisherError], tuple[int, str]]] = {
    BadRequestError: (400, "bad_request"),
    UnknownDocumentError: (404, "not_found"),
    ConflictError: (412, "conflict"),
    BadDocumentError: (422, "bad_document"),
    PreconditionRequiredError: (428, "precondition_required"),
    ContendedError: (503, "contended"),
    EpochExhaustedError: (503, "epoch_exhausted"),
    FastForwardError: (503, "fast_forward"),
    RootChainError: (503, "newer_root"),
    SigningError: (503, "signing_failed"),
    StoreError: (503, "store_failed"),
}
_HTTP_CODES: Final[Mapping[int, str]] = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

_log = logging.getLogger("graywave.publisher")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Answers a control plane.

    Args:
        writer: publishes.
        token: what a control plane has to send.
        clock: the time in seconds.
    """

    def __init__(self, writer: Writer, token: str, clock: Callable[[], int]) -> None:
        self._writer, self._clock = writer, clock
        self._expected = f"Bearer {token}".encode()

    def make_app(self) -> web.Application:
        """Returns the application to serve."""
        app = web.Application(
            middlewares=[_answer_errors, self._check_token],
            client_max_size=MAX_DOCUMENT_BYTES,
        )
        app.router.add_get("/healthz", self.show_health)
        app.router.add_get("/v1/documents", self.list_documents)
        app.router.add_get("/v1/documents/{kind}/{id}", self.read_document)
        app.router.add_get("/v1/documents/{kind}/{id}/revisions", self.read_past)
        app.router.add_get("/v1/documents/{kind}/{id}/revisions/{revision}", self.read_revision)
        app.router.add_put("/v1/documents/{kind}/{id}", self.put_document)
        app.router.add_post("/v1/trials", self.make_trial)
        return app

    async def show_health(self, request: web.Request) -> web.Response:
        """Answers whether the store works, and how far Redis is behind it."""
        _read_query(request)
        state = await self._writer.read_state()
        return _answer(200, {"status": "ok", "distributed": self._writer.is_settled, "pending": state.pending})

    async def list_documents(self, request: web.Request) -> web.Response:
        """Answers which documents there are, and at which position."""
        _read_query(request)
        listed = [_describe(name, *position) for name, position in await self._writer.list()]
        return _answer(200, {"documents": listed})

    async def read_document(self, request: web.Request) -> web.Response:
        """Answers a document as its author would write it."""
        _read_query(request)
        record, _ = await self._writer.find(_read_name(request))
        tag = {"ETag": make_tag(record.position.revision)}
        known = read_tags("If-None-Match", request.headers.get("If-None-Match"))
        if known and is_listed(known, record.position.revision):
            return web.Response(status=304, headers=tag)
        return web.Response(body=record.signed.author, content_type="application/json", headers=tag)

    async def read_revision(self, request: web.Request) -> web.Response:
        """Answers a document in the form in which it was published under a revision."""
        _read_query(request)
        revision = _read_number("revision", request.match_info["revision"])
        return _answer_published(await self._writer.find_revision(_read_name(request), revision))

    async def read_past(self, request: web.Request) -> web.Response:
        """Answers a document in the form in which it was published last at a time."""
        name, equals, text = request.query_string.partition("=")
        if (name, equals) != ("at", "="):
            raise BadRequestError(f"expected query at=<seconds since 1970>, got {request.query_string[:100]!r}")
        return _answer_published(await self._writer.find_past(_read_name(request), _read_number("at", text)))

    async def put_document(self, request: web.Request) -> web.Response:
        """Publishes a document, or says what publishing it would do."""
        is_dry = _read_query(request, "dry_run")
        headers = request.headers
        precondition = Precondition.read(headers.get("If-Match"), headers.get("If-None-Match"))
        wish = Wish(_read_name(request), await _read_body(request), precondition)
        if is_dry:
            return _answer_preview(wish.name, await self._writer.preview(wish, self._clock()))
        outcome = await self._writer.put(wish, self._clock())
        if outcome.is_changed:
            _log.info("%s published at %s", wish.name, outcome.position)
        return _answer_outcome(wish.name, outcome)

    async def make_trial(self, request: web.Request) -> web.Response:
        """Answers a token by which some users get a version before it is released."""
        _read_query(request)
        claim, token = await self._writer.make_trial(read_wish(await _read_body(request)), self._clock())
        told = f"{claim.version} of {claim.program} for {len(claim.users)} users until {claim.expires}"
        _log.info("trial %s made: %s", claim.id, told)
        return _answer(201, {"id": claim.id, "expires": claim.expires, "trial": token})

    @web.middleware
    async def _check_token(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        # Before a body is read; the health check is for those who have no token.
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path != "/healthz" and not hmac.compare_digest(given, self._expected):
            error = _describe_error("unauthorized", "expected the publisher's token as Authorization: Bearer")
            return _answer(401, error, {"WWW-Authenticate": "Bearer"})
        return await handler(request)


@web.middleware
async def _answer_errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except PublisherError as error:
        return _answer_error(error)
    except web.HTTPException as error:
        message = f"{error.reason.lower()}: {request.method} {request.path!r}"
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _answer(error.status, _describe_error(_HTTP_CODES.get(error.status, "bad_request"), message), allow)
    except Exception:  # noqa: BLE001, whatever it is, the control plane gets an answer and the log the trace
        _log.exception("%s %r failed", request.method, request.path)
        return _answer(500, _describe_error("internal", "the publisher has failed; its log says how"))


def _answer_error(error: PublisherError) -> web.Response:
    status, code = _ERRORS[type(error)]
    if isinstance(error, BadDocumentError):
        return _answer(status, _describe_error(code, error.message, path=error.path))
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return _answer(status, _describe_error(code, str(error)), headers)


def _describe_error(code: str, message: str, **more: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


def _answer_published(record: Record) -> web.Response:
    tag = {"ETag": make_tag(record.position.revision)}
    body = cut_payload(record.signed.envelope)
    return web.Response(body=body, content_type="application/json", headers=tag)


def _answer_outcome(name: DocumentName, outcome: Outcome) -> web.Response:
    body = {
        **_describe(name, *outcome.position),
        "distributed": outcome.is_distributed,
        "unchanged": not outcome.is_changed,
        "warnings": _list_doubts(outcome.doubts),
    }
    return _answer(200 if outcome.is_distributed else 202, body, {"ETag": make_tag(outcome.position.revision)})


def _answer_preview(name: DocumentName, preview: Preview) -> web.Response:
    body = {
        **_describe(name, *preview.position),
        "dry_run": True,
        "unchanged": not preview.is_changed,
        "warnings": _list_doubts(preview.doubts),
        "document": orjson.Fragment(preview.author),
    }
    return _answer(200, body)


def _describe(name: DocumentName, epoch: int, revision: int) -> dict[str, Any]:
    return {"kind": name.kind, "id": name.id, "epoch": epoch, "revision": revision}


def _list_doubts(doubts: Sequence[Doubt]) -> list[dict[str, str]]:
    return [{"path": doubt.path, "message": doubt.message} for doubt in doubts]


def _answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] = MappingProxyType({})) -> web.Response:
    data = orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(status=status, body=data, content_type="application/json", headers=headers)


def _read_query(request: web.Request, flag: str | None = None) -> bool:
    """Whether the flag is set. Anything else is refused: a misspelt dry_run would publish."""
    if request.query_string not in (("", f"{flag}=1") if flag else ("",)):
        wanted = f"query {flag}=1 or none" if flag else "no query"
        raise BadRequestError(f"expected {wanted}, got {request.query_string[:100]!r}")
    return bool(request.query_string)


def _read_name(request: web.Request) -> DocumentName:
    try:
        return DocumentName.of(request.match_info["kind"], request.match_info["id"])
    except KeyNameError as error:
        raise UnknownDocumentError(str(error)) from error


def _read_number(what: str, text: str) -> int:
    # int() of a long text of digits takes quadratic time; sqlite takes 63 bits.
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise BadRequestError(f"expected {what} as a number of at most {MAX_DIGITS} digits, got {text[:100]!r}")
    return int(text)


async def _read_body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError as error:
        raise BadRequestError(f"expected the body within {BODY_TIMEOUT_S:.0f} s") from error
