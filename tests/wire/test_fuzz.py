"""Requests with bytes changed at random: the lane and aiohttp alone answer the same.

Tolerated: of several faults in one head, each may name another in the message of `malformed_request`.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire.client import Answer, ask, make_check
from tests.wire.server import WireServer

SEEDS = [
    make_check(),
    make_check(fields=b"Connection: keep-alive\r\nExpect: 100-continue\r\n"),
    make_check(b"0\r\n\r\n", length=b"Transfer-Encoding: chunked\r\n"),
    make_check(fields=b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    make_check(content_type=b"Content-Type: application/json; charset=utf-8\r\n") + make_check(),
    make_check(b"{}", b"X-Graywave-Workspace: demo\r\n", line=b"POST /ofrep/v1/evaluate/flags HTTP/1.1") + make_check(),
    make_check(
        b'{"context":{}}', b"X-Graywave-Workspace: demo\r\n", line=b"POST /ofrep/v1/evaluate/flags/old HTTP/1.1"
    ),
]
BITS = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b"\xff",
        b"Host: b\r\n",
        b"Content-Length: 3\r\n",
        b"\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"User-Agent: a\r\n",
        b"Sec-WebSocket-Key1: a\r\n",
        b"Expect: 100-continue\r\n",
        b"HTTP/1.0",
        b"GET ",
        b"0",
    ]
)


@st.composite
def mutate(draw: st.DrawFn) -> bytes:
    """Draws a request, and changes it in one to three places."""
    request = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(request)))
        cut = draw(st.sampled_from([0, 0, 1, 1, 2, 10]))
        request = request[:at] + draw(st.one_of(st.just(b""), st.binary(max_size=2), BITS)) + request[at + cut :]
    return request[: draw(st.sampled_from([len(request)] * 4 + [draw(st.integers(0, len(request)))]))]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(request=mutate())
def test_both_answer_the_same(both: dict[str, WireServer], request: bytes) -> None:
    """Status, type and body of the first answer, and of those behind it as far as the lane's connection lasts."""
    lane, plain = ([name_fault(answer) for answer in ask(both[name], request)] for name in ("lane", "plain"))
    assert lane == plain[: len(lane)]
    assert bool(lane) == bool(plain)


def name_fault(answer: Answer) -> Answer:
    """Returns the answer without the message of a malformed head."""
    return Answer(answer.status, answer.type, b"") if answer.code == "malformed_request" else answer
