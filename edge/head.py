"""What the head of a check decides: its body's length, whether the connection goes on, how long its client would wait.

Usual heads are judged once.

httptools judges whether it is a head of HTTP/1.1 at all. It lets no folded lines, bare LF or blanks before a colon
pass, so that the few fields that decide can be looked for in the bytes, which is cheaper than being told of every field
(docs/adr/0004).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import httptools

from edge.errors import RefusedError
from edge.exchange import JSON, read_length, refuse_head
from edge.frame import BLANK_LINE
from edge.preference import PREFER, read_wait

# The fields that decide, and those that aiohttp refuses twice, or at all, in a head in lower case; httptools has
# refused every other way to write one.
_find_fields: Final = re.compile(
    rb"\r\n(host|content-length|content-type|transfer-encoding|expect"
    rb"|content-location|content-range|etag|max-forwards|server|user-agent|sec-websocket-key1):[ \t]*([^\r]*)"
).findall
# The same fields as most clients write them, whole lines; a match of DOUBTFUL is one that says not enough. Their first
# letters stand before them, so that other lines are passed over at once.
_find_lines: Final = re.compile(
    rb"\n(?=[hcptemsu])(host:|content-type: ?application/json(?:; ?charset=utf-8)?\r|content-length: ?[0-9]{1,5}\r"
    rb"|connection: ?keep-alive\r|user-agent:|content-|connection:|transfer-encoding|expect"
    rb"|p(?:refer: ?wait=[0-9]{1,4}\r|refer:|roxy-connection:)|etag:|max-forwards:|server:|sec-websocket-key1:)"
).findall
DOUBTFUL: Final = frozenset(
    [b"content-", b"connection:", b"proxy-connection:", b"transfer-encoding", b"expect", b"prefer:"]
)
# The handshake of a draft of WebSocket, behind which come bytes without a length: aiohttp refuses it.
OLD_HANDSHAKE: Final = b"sec-websocket-key1"
# A head with these three once each, and a Content-Type of just that, needs no second look.
USUAL_FIELDS: Final = frozenset([b"host", b"content-length", b"content-type"])
USUAL_TYPE: Final = JSON.encode()
# How many combinations of usual lines are remembered, mostly one for each length of a body, and of how many lines: a
# head that repeats one of them hundreds of times would fill the memory of a worker.
MAX_REMEMBERED = 4_096
MAX_LINES = 8
_NO_CALLBACKS: Final = object()
# The length of the body, whether the connection stays, whether the client expects 100, how many seconds it would wait.
Verdict = tuple[int, bool, bool, int]
_UNKNOWN: Final[Verdict] = (-2, False, False, 0)


class HeadReader:
    """Reads the heads of checks, those of most clients quickly; one serves all connections of a worker.

    A head's deciding lines, once judged, are remembered: the next head with the same lines has the same verdict. What
    else is in it httptools judges, each time, in one pass over the whole message; it has to find the message's end
    where the lane has found it. Whatever is unusual gets a parser of its own in `read_head`.
    """

    def __init__(self) -> None:
        self._verdicts: dict[tuple[bytes, ...], Verdict] = {}
        self._unfinished: list[bool] = []
        self._renew()

    def read(self, data: bytes, head: bytes, available: int) -> Verdict:
        """Returns what `read_head` does for a head.

        Args:
            data: what was read.
            head: from the request line to the line before the blank one.
            available: how many bytes follow the blank line in `data`; negative where the head does not begin it.

        Raises:
            RefusedError: not a head of HTTP/1.1, or not one of a check.
        """
        lines = tuple(_find_lines(head.lower()))
        known = self._verdicts.get(lines, _UNKNOWN)
        if known[0] == available:
            self._unfinished.append(True)
            try:
                self._feed(data)
                if not self._unfinished:
                    return known
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                pass  # judged anew, alone, below
            self._renew()
        found = read_head(head + BLANK_LINE)
        if found[1:3] == (True, False) and len(lines) <= MAX_LINES and DOUBTFUL.isdisjoint(lines):
            self._remember(lines, found)
        return found

    def _renew(self) -> None:
        """A parser that has seen what it did not like is not used again."""
        self._unfinished.clear()
        self._feed = httptools.HttpRequestParser(_Callbacks(self._unfinished.clear)).feed_data

    def _remember(self, lines: tuple[bytes, ...], verdict: Verdict) -> None:
        if len(self._verdicts) >= MAX_REMEMBERED:
            self._verdicts.clear()
        self._verdicts[lines] = verdict


class _Callbacks:
    """What httptools calls: one C function at a message's end, nothing for fields and bodies."""

    def __init__(self, on_message_complete: Callable[[], None]) -> None:
        self.on_message_complete = on_message_complete


def read_head(data: bytes) -> Verdict:
    """Returns what a head says, from its request line to its blank line.

    It gets a parser of its own, so that nothing of one message reaches the next.

    Raises:
        RefusedError: not a head of HTTP/1.1, or not one of a check.
    """
    parser, keeps_alive = httptools.HttpRequestParser(_NO_CALLBACKS), True
    try:
        parser.feed_data(data[:-1])
        # Behind the last byte of a message without a body the parser has forgotten it.
        keeps_alive = parser.should_keep_alive()
        parser.feed_data(data[-1:])
    except httptools.HttpParserUpgrade:
        pass  # an offer to speak another protocol, which a server may ignore (RFC 9110, 7.8)
    except httptools.HttpParserError as error:
        raise RefusedError("malformed_request", f"expected a request of HTTP/1.1 ({error})", closes=True) from None
    found = [(name, value.rstrip(b" \t")) for name, value in _find_fields(data.lower())]
    fields = dict(found)
    if len(found) != len(fields) or fields.keys() != USUAL_FIELDS or fields[b"content-type"] != USUAL_TYPE:
        _refuse_doubles([name for name, _ in found])
        if OLD_HANDSHAKE in fields:
            message = "expected a request of HTTP/1.1 (Invalid HTTP header: 'Sec-WebSocket-Key1')"
            raise RefusedError("malformed_request", message, closes=True)
        deciding = (b"content-length", b"content-type", b"transfer-encoding", b"expect")
        refuse_head(*[fields.get(name, b"") for name in deciding], has_host=b"host" in fields)
    wait_s = read_wait(find_fields(data, (PREFER,)).get(PREFER, ()))
    return read_length(fields[b"content-length"]), keeps_alive, bool(fields.get(b"expect")), wait_s


def find_fields(head: bytes, names: Iterable[bytes]) -> Mapping[bytes, Sequence[bytes]]:
    """Returns the values of fields in a head that was judged, in their order; they decide nothing of how it is read.

    Args:
        head: from the request line to the line before the blank one.
        names: in small letters; what is not there is not in what is returned.
    """
    lower = head.lower()
    found = {}
    for name in names:
        mark = b"\r\n%b:" % name
        begin = lower.find(mark)
        if begin >= 0:
            found[name] = _read_values(head, lower, mark, begin)
    return found


def _read_values(head: bytes, lower: bytes, mark: bytes, begin: int) -> list[bytes]:
    values = []
    while begin >= 0:
        begin += len(mark)
        values.append(head[begin:].partition(b"\r")[0].strip(b" \t"))
        begin = lower.find(mark, begin)
    return values


def _refuse_doubles(names: Iterable[bytes]) -> None:
    """A field that says two things says nothing; of several expectations the last counts."""
    seen: set[bytes] = set()
    for name in names:
        if name in seen and name != b"expect":
            message = f"expected one {name.decode().title()} field, got more"
            raise RefusedError("malformed_request", message, closes=True)
        seen.add(name)
