"""Everything that the lane does not serve, in aiohttp: reports, roots, package files, and the check itself in plain.

The same exchange as on the lane decides what a check is told; only the transport is another.
"""

import asyncio
import re
from collections.abc import Callable, Collection
from functools import partial
from http import HTTPStatus
from typing import Final, cast

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.typedefs import Handler as RequestHandlerFunction

from edge.answer import Unanswered
from edge.body import MAX_BODY_BYTES
from edge.budget import COSTLY_BYTES, Purpose
from edge.connection import Connections, FullError, name_peer
from edge.errors import RETRIED, FloodError, RefusedError
from edge.exchange import CONTINUE, JSON, MAX_HEAD_BYTES, Rules, refuse_head
from edge.file import IMMUTABLE, FileAnswer, Store
from edge.frame import Frame
from edge.held import Outcome
from edge.ofrep import WANTED, answer_flags
from edge.package import VARY, choose_coded
from edge.preference import PREFER, name_applied, read_wait
from edge.quota import REST_S
from edge.report import Seen, parse_report
from edge.sender import NOBODY, Sender
from edge.settings import EdgeSettings
from edge.tally import Outbox, find_stays

TAR: Final = "application/x-tar"
# Of what a browser asks before a page may ask; nothing else here has it.
_PREFLIGHT: Final = HTTPStatus.NO_CONTENT
FLAGS: Final = "/ofrep/v1/evaluate/flags"
# Of a name that nobody has, as much as this is told again, in characters.
_SHOWN: Final = 64
_is_number: Final = re.compile("[1-9][0-9]{0,15}").fullmatch
# The shortest field is `a:` and its line's end: the limit of the head is the limit of their number, too.
MAX_FIELDS: Final = MAX_HEAD_BYTES // len("a:\r\n")
# How long a body that was refused unread is thrown away before the connection ends, in seconds: a client that is still
# sending reads its answer then; one that sends for ever is cut off.
LINGER_S: Final = 2.0
# No head may have it, wherever it stands.
_NO_HEAD: Final = b"\0"
# What aiohttp's parser says of fields that the lane counts itself.
_find_double: Final = re.compile("Duplicate '(.*)' header found.").fullmatch
_NO_HOST: Final = "Missing 'Host' header in request."
# What the router and aiohttp itself refuse with, as the contract's codes.
_CODES: Final = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.EXPECTATION_FAILED: "expectation_failed",
}


class Handler(web.RequestHandler):
    """One connection that aiohttp serves, from its start or from the lane's hands.

    Args:
        server: aiohttp's.
        connections: where the connection is registered.
        ends: whether it ends with its first answer, downloads excepted.
        loop: the running loop.
    """

    __slots__ = (
        "_answered",
        "_awaits",
        "_connections",
        "_fault",
        "_frame",
        "_has_ended",
        "_is_retired",
        "_payload",
        "deadline",
        "end_wait",
        "ends",
        "life_end",
    )

    def __init__(
        self, server: web.Server, connections: Connections, *, ends: bool, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(server, loop=loop, auto_decompress=False, max_line_size=MAX_HEAD_BYTES,
                         max_field_size=MAX_HEAD_BYTES, max_headers=MAX_FIELDS, lingering_time=LINGER_S)  # fmt: skip
        self._connections = connections
        self._answered = 0
        self._awaits = True
        self._frame = Frame()
        self._fault: RefusedError | None = None
        self._has_ended = self._is_retired = False
        self._payload: StreamReader | None = None
        self.ends = ends
        # Has the check answered that is held on this connection, None where there is none.
        self.end_wait: Callable[[], None] | None = None
        self.deadline = self.life_end = 0.0

    def wait(self, end: Callable[[], None] | None, wait_s: int = 0) -> None:
        """Holds the connection for so many seconds, after which `end` is called; None for no longer."""
        self.end_wait = end
        if end is not None:
            self.deadline = self._connections.find_end(wait_s)
            if self._has_ended:
                end()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Registers the connection, or ends it where there are too many."""
        super().connection_made(transport)
        if not self.ends:
            try:
                self._connections.add(self, transport)
            except FullError:
                self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forgets the connection."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Gives a new request its deadline; what has begun keeps its own. aiohttp calls it without bytes to go on."""
        if data and not self._awaits:
            self._awaits = True
            self.deadline = self._connections.request_deadline
        if self._fault is None:  # behind a fault nothing is read any more
            self._frame.add(data)
        while self._fault is None and len(self._messages) < self._max_msg_queue_size:
            piece = self._cut()
            if not piece:
                break
            super().data_received(piece)
            if self._messages:
                self._payload = self._messages[-1][1]

    def _cut(self) -> bytes:
        """A fault is told in its turn, behind the answers that are owed: by making the parser refuse."""
        try:
            return self._frame.cut()
        except RefusedError as error:
            self._fault = error
            return _NO_HEAD

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's says None, the loop's protocol bool
        """A client that sends no more still gets the answers that are owed."""
        self._has_ended = True
        if self.end_wait is not None:
            self.end_wait()
        if self._payload is not None:
            self._payload.feed_eof()
        self._end_if_idle()
        return True

    def _end_if_idle(self) -> None:
        """Ends a connection on which no answer is owed, and none will be."""
        if self._is_ending() and self._count_owed() == 0:
            self.force_close()

    def _is_ending(self) -> bool:
        return self._has_ended or (self._is_retired and self._frame.is_empty)

    def _count_owed(self) -> int:
        """Returns how many messages have no answer yet; what aiohttp holds back behind an upgrade counts as one."""
        return self._request_count - self._answered + bool(self._message_tail)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Every answer goes through here, also what no middleware has seen."""
        if isinstance(resp, web.HTTPException):
            resp = _translate(request, resp)
        self._answer_with(request, resp)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered += 1
            self._end_if_idle()

    def _answer_with(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """An answer is ready: it gets its time to be written and the next request to come, or ends the connection."""
        is_file = isinstance(response, FileAnswer)
        self._awaits = not self._frame.is_empty
        if is_file:
            self.deadline = self._connections.download_deadline
        elif self._awaits:
            self.deadline = self._connections.request_deadline
        else:
            self.deadline = self._connections.idle_deadline
        # Behind a message in chunks the frame no longer knows where the next one begins.
        is_last = "Transfer-Encoding" in request.headers or (self._is_ending() and self._count_owed() == 1)
        if is_last or self._connections.is_draining or (self.ends and not is_file):
            response.force_close()

    def expire(self) -> None:
        """Ends a connection that took too long, also where its client does not read what it is owed.

        A check that was held long enough is answered.
        """
        if self.end_wait is not None:
            self.deadline = self._connections.request_deadline
            self.end_wait()
            return
        if self.transport is not None:
            self.transport.abort()
        self.force_close()

    def retire(self) -> None:
        """Ends the connection with the answers that are owed, else with its next one."""
        self._is_retired = True

    def end_idle(self) -> None:
        """Ends the connection where no message has begun and no answer is owed."""
        if self._frame.is_empty and self._count_owed() == 0:
            self.force_close()

    def find_descriptor(self) -> int:
        """Returns -1: what aiohttp has begun nobody else goes on with."""
        return -1

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Tells what aiohttp could not parse, or did not survive, in the contract's words."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            super().handle_error(request, status, exc, message)  # logs the trace
            error = RefusedError("internal_error", "the edge failed; its log says why", closes=True)
        else:
            error = self._fault or _explain(message or "")
        return _refuse(error)


def _explain(message: str) -> RefusedError:
    """What aiohttp's parser says, in the words of the lane's: both are llhttp, and aiohttp adds the place."""
    reason = message.partition("\n\n")[0].removeprefix("Bad status line:\n  ").rstrip(":")
    double = _find_double(reason)
    if double or reason == _NO_HOST:
        text = f"expected one {double[1].title() if double else 'Host'} field, got {'more' if double else 'none'}"
    else:
        text = f"expected a request of HTTP/1.1 ({reason})"
    return RefusedError("malformed_request", text, closes=True)


_RULES = web.AppKey("rules", Rules)
_STORE = web.AppKey("store", Store)
_SEEN = web.AppKey("seen", Seen)
_OUTBOX = web.AppKey("outbox", Outbox)


def make_app(rules: Rules, settings: EdgeSettings, outbox: Outbox) -> web.Application:
    """Returns the application of one worker; what devices report to run goes to the outbox."""
    app = web.Application(middlewares=[_answer_errors], client_max_size=MAX_BODY_BYTES)
    app[_RULES], app[_STORE], app[_SEEN], app[_OUTBOX] = rules, Store(settings.store), Seen(), outbox
    app.add_routes(
        [
            web.post("/v1/check", _check, expect_handler=_expect),
            web.post("/v1/report", _report, expect_handler=_expect),
            web.post(FLAGS, _answer_all_flags, expect_handler=_expect),
            web.post(f"{FLAGS}/", _answer_all_flags, expect_handler=_expect),
            web.post(
                f"{FLAGS}/{{key:[^/]+}}", _answer_flag, expect_handler=_expect
            ),  # of itself aiohttp takes no braces
            web.get("/v1/root/{number}", _root),
            web.get("/v1/files/{digest}", _file),
            web.get("/v1/packages/{digest}", _package),
        ]
    )
    return app


@web.middleware
async def _answer_errors(request: web.Request, handler: RequestHandlerFunction) -> web.StreamResponse:
    cors = request.app[_RULES].cors
    try:
        _refuse_request(request)
        response = await handler(request)
    except RefusedError as error:
        request.app[_RULES].counters.refused += 1
        if isinstance(error, FloodError):
            await asyncio.sleep(REST_S)  # nothing else of the connection is served meanwhile
        response = _refuse(error)
    except web.HTTPException as error:
        is_preflight = cors is not None and request.method == "OPTIONS" and "POST" in error.headers.get("Allow", "")
        response = web.Response(status=_PREFLIGHT) if is_preflight else _translate(request, error)
    if cors is not None and not response.prepared:
        response.headers.update(cors.find_fields(_find_origin(request), is_preflight=response.status == _PREFLIGHT))
    return response


def _find_origin(request: web.Request) -> str:
    """The one Origin; of several none counts, as on the lane."""
    origins = request.headers.getall("Origin", ())
    return origins[0] if len(origins) == 1 else ""


def _translate(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    """What the router or aiohttp itself refuses with, as the contract has it."""
    code = _CODES.get(HTTPStatus(error.status), "malformed_request")
    response = _refuse(RefusedError(code, f"{request.method} {request.path}: {error.reason.lower()}"))
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _refuse_request(request: web.Request) -> None:
    """What aiohttp's parser lets through and the lane would not."""
    if request.version not in (HttpVersion10, HttpVersion11):
        raise RefusedError("malformed_request", "expected a request of HTTP/1.0 or HTTP/1.1", closes=True)
    if "" in request.headers.getall("Transfer-Encoding", ()):  # an older llhttp than the lane's
        message = "expected a request of HTTP/1.1 (Empty Transfer-Encoding)"
        raise RefusedError("malformed_request", message, closes=True)


def _refuse_body(request: web.Request) -> None:
    """The head of a request with a JSON body, judged by the same law as on the lane."""
    fields = {name.lower(): value.lower() for name, value in request.raw_headers}
    hosts = len(request.headers.getall("Host", ()))
    refuse_head(
        *(fields.get(name, b"") for name in (b"content-length", b"content-type", b"transfer-encoding", b"expect")),
        has_host=bool(hosts) or request.version == HttpVersion10,
    )


def _refuse(error: RefusedError) -> web.Response:
    response = web.Response(status=error.status, body=error.body, content_type=JSON)
    if error.status in RETRIED:
        response.headers["Retry-After"] = str(error.retry_after_s)
    if error.closes:
        response.force_close()
    return response


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Asks for the body, where its head promises one that will be read."""
    try:
        _refuse_request(request)
        _refuse_body(request)
    except RefusedError as error:
        return _refuse(error)
    await request.writer.write(CONTINUE)
    return None


async def _read(request: web.Request) -> bytes:
    """Returns the body of a request that has one of the right kind."""
    _refuse_body(request)
    body = await request.read()
    if len(body) != request.content_length:
        request.protocol.force_close()  # its client has ended the connection within it: nobody to answer
    return body


async def _wait(rules: Rules, unanswered: Unanswered) -> bytes:
    """Returns the answer to a check that has to ask windows first."""
    told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    answer = rules.ask(unanswered, partial(_settle, told))
    return await told if answer is None else answer


async def _check(request: web.Request) -> web.Response:
    body = await _read(request)
    rules = request.app[_RULES]
    is_costly, now = len(body) > COSTLY_BYTES, rules.now
    sender = _describe(request, rules.wanted_of_costly if is_costly else rules.wanted)
    answer = (rules.check_costly if is_costly else rules.check)(body, now, sender)
    if isinstance(answer, Unanswered):
        answer = await _wait(rules, answer)
    wait_s = read_wait(value for name, value in request.raw_headers if name.lower() == PREFER)
    told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    check = rules.hold(answer, now, body, sender, partial(_settle, told)) if wait_s else None
    if check is None:
        return web.Response(body=answer, content_type=JSON)
    handler = cast("Handler", request.protocol)
    handler.wait(partial(rules.held.end, check), wait_s)
    try:
        answer = await told
    finally:
        handler.wait(None)
        rules.held.forget(check)  # where the client has gone
    return web.Response(body=answer, content_type=JSON, headers={"Preference-Applied": name_applied(wait_s)})


def _settle(told: asyncio.Future[bytes], outcome: Outcome) -> None:
    if told.done():  # its client has gone
        return
    if isinstance(outcome, RefusedError):
        told.set_exception(outcome)
    else:
        told.set_result(outcome)


async def _answer_all_flags(request: web.Request) -> web.Response:
    return await _answer_flags(request, b"", await _read(request))


async def _answer_flag(request: web.Request) -> web.Response:
    segment = request.raw_path.partition("?")[0].rpartition("/")[2]
    return await _answer_flags(request, segment.encode("utf-8", "surrogateescape"), await _read(request))


async def _answer_flags(request: web.Request, segment: bytes, body: bytes) -> web.Response:
    rules = request.app[_RULES]
    reply = answer_flags(rules, _describe(request, (*(rules.wanted or ()), *WANTED)), segment, body)
    if reply.status is HTTPStatus.TOO_MANY_REQUESTS:
        await asyncio.sleep(REST_S)
    response = web.Response(status=reply.status, body=reply.body or None, content_type=JSON)
    if reply.etag:
        response.headers["ETag"] = reply.etag.decode()
    if reply.status in RETRIED:
        response.headers["Retry-After"] = str(reply.retry_after_s)
    return response


def _describe(request: web.Request, wanted: Collection[bytes] | None) -> Sender:
    """What is wanted to know of a request's sender, as the lane finds it."""
    if wanted is None:
        return NOBODY
    fields: dict[bytes, list[bytes]] = {name: [] for name in wanted}
    for name, value in request.raw_headers:
        if name.lower() in fields:
            fields[name.lower()].append(value.strip(b" \t"))
    transport = request.transport
    return Sender(fields, name_peer(transport) if transport else "", request.protocol)


async def _report(request: web.Request) -> web.Response:
    body = await _read(request)
    rules = request.app[_RULES]
    with rules.spending(Purpose.REPORT):
        return _count_report(request, rules, body)


def _count_report(request: web.Request, rules: Rules, body: bytes) -> web.Response:
    report = parse_report(body)
    programs = rules.find_workspace(report.workspace)
    rules.counters.reports += 1
    events = request.app[_SEEN].admit(report)
    request.app[_OUTBOX].add(find_stays(report, events, programs))
    for event in events:
        setattr(rules.counters, event.outcome, getattr(rules.counters, event.outcome) + 1)
    return web.Response(status=HTTPStatus.ACCEPTED)


async def _root(request: web.Request) -> web.Response:
    """A workspace's root document of a number; where the edge serves one workspace alone, it need not be named."""
    workspaces, number = request.app[_RULES].workspaces, request.match_info["number"]
    name = request.query.get("workspace", next(iter(workspaces)) if len(workspaces) == 1 else "")
    roots = workspaces[name].roots if name in workspaces else {}
    document = roots.get(int(number)) if _is_number(number) else None
    if document is None:
        raise RefusedError("not_found", f"no root {number[:_SHOWN]!r} of workspace {name[:_SHOWN]!r} is here")
    return web.Response(body=document, content_type=JSON)


async def _file(request: web.Request) -> web.StreamResponse:
    digest = request.match_info["digest"]
    path = request.app[_STORE].find(digest)
    if path is None:
        raise RefusedError("not_found", f"no file {digest[:_SHOWN]!r} is here")
    request.app[_RULES].counters.files += 1
    return FileAnswer(path, digest, {"Cache-Control": IMMUTABLE, "Content-Type": "application/octet-stream"})


async def _package(request: web.Request) -> web.StreamResponse:
    """A package by its tar's hash, in the best coding that the client takes and the store has."""
    try:
        return _send_package(request)
    except RefusedError as error:
        request.app[_RULES].counters.refused += 1
        response = _refuse(error)
        response.headers["Vary"] = VARY
        return response


def _send_package(request: web.Request) -> FileAnswer:
    digest, store, rules = request.match_info["digest"], request.app[_STORE], request.app[_RULES]
    packed = [one for workspace in rules.workspaces.values() for one in workspace.shelf.find(digest)]
    accepted, dictionary = (_join(request, name) for name in ("Accept-Encoding", "Available-Dictionary"))
    choice = choose_coded(packed, accepted, dictionary)
    if packed and not choice:
        raise RefusedError("not_acceptable", "expected zstd in Accept-Encoding, or dcz and a dictionary that is known")
    for coded in choice:
        path = store.find(coded.digest)
        if path is not None:
            rules.counters.files += 1
            fields = {"Cache-Control": IMMUTABLE, "Content-Type": TAR, "Content-Encoding": coded.coding, "Vary": VARY}
            return FileAnswer(path, coded.digest, fields)
    if any(workspace.owed for workspace in rules.workspaces.values()):
        raise RefusedError("no_ruleset", "not all programs have been read since the start")
    raise RefusedError("not_found", f"no package {digest[:_SHOWN]!r} is here")


def _join(request: web.Request, name: str) -> str | None:
    """A field's value, of several the list of them; None where there is none."""
    values = request.headers.getall(name, None)
    return None if values is None else ", ".join(values)
