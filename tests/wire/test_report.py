"""`POST /v1/report`: taken at once, counted once a nonce, by the same law for heads and bodies as a check."""

import pytest

from edge.metrics import Counters
from tests.wire.client import REPORT, Answer, ask, make_check
from tests.wire.server import WireServer

LINE = b"POST /v1/report HTTP/1.1"


def count(server: WireServer) -> tuple[int, int]:
    """Returns how many reports and how many confirmed events the server has counted."""

    def read(counters: Counters = server.counters) -> tuple[int, int]:
        return counters.reports, counters.confirmed

    return server.call(read)


def test_counts_a_nonce_once(server: WireServer) -> None:
    """The same nonce is taken again and not counted again; another is."""
    before = count(server)
    for nonce in (b"n-1", b"n-1", b"n-2"):
        (answer,) = ask(server, make_check(REPORT % nonce, line=LINE))
        assert (answer.status, answer.body) == (202, b"")
    after = count(server)
    assert (after[0] - before[0], after[1] - before[1]) == (3, 2)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (make_check(b"{}", line=LINE), 400, "missing_field"),
        (make_check(b"[" * 60_000, line=LINE), 400, "bad_field"),
        (make_check(REPORT.replace(b"demo", b"nope"), line=LINE), 404, "unknown_workspace"),
        (make_check(REPORT.replace(b"confirmed", b"lost"), line=LINE), 400, "bad_field"),
        (make_check(b"0\r\n\r\n", length=b"Transfer-Encoding: chunked\r\n", line=LINE), 411, "length_required"),
        (make_check(b"", length=b"", line=LINE), 411, "length_required"),
        (make_check(b"", length=b"Content-Length: 65537\r\n", line=LINE), 413, "too_large"),
        (make_check(REPORT, content_type=b"", line=LINE), 415, "unsupported_media_type"),
        (make_check(REPORT, host=b"", line=LINE), 400, "malformed_request"),
        (make_check(b"", line=LINE.replace(b"POST", b"GET")), 405, "method_not_allowed"),
    ],
)
def test_refuses(server: WireServer, sent: bytes, status: int, code: str) -> None:
    """As a check is refused, and nothing is counted."""
    before = count(server)
    (answer,) = ask(server, sent)
    assert (answer.status, answer.type, answer.code) == (status, "application/json", code)
    assert count(server) == before


def test_cut_off_report_is_not_counted(server: WireServer) -> None:
    """What has not come whole has not come."""
    before = count(server)
    assert ask(server, make_check(REPORT % b"n-9", line=LINE)[:-1]) == []
    assert count(server) == before


def test_an_answer_has_no_body() -> None:
    """The client of these tests reads an empty body as such."""
    assert Answer(202, "", b"").code == ""
