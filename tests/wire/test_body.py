"""Bodies: bounded, UTF-8, one JSON object; whatever else is refused, and the connection goes on."""

import orjson
import pytest

from tests.wire.client import GOOD, QUESTION, USUAL, Client, ask, make_check
from tests.wire.server import WireServer

MAX_BODY = 65_536


def add_member(member: bytes) -> bytes:
    """Returns the question with one more member at its end."""
    return QUESTION[:-1] + b"," + member + b"}"


def pad(size: int) -> bytes:
    """Returns the question with blanks, so that it has that many bytes."""
    return QUESTION[:-1] + b" " * (size - len(QUESTION)) + b"}"


def ask_about(count: int) -> bytes:
    """Returns the question about that many programs."""
    return orjson.dumps({**USUAL.question, "programs": {f"{i:016}": "" for i in range(count)}})


REFUSED = {
    "empty": (b"", 400, "malformed_json"),
    "no JSON": (b"hello", 400, "malformed_json"),
    "cut off": (QUESTION[:-1], 400, "malformed_json"),
    "more behind it": (QUESTION + b"{}", 400, "malformed_json"),
    "null bytes": (b"\0" * 100, 400, "malformed_json"),
    "null byte behind it": (QUESTION + b"\0", 400, "malformed_json"),
    "byte order mark": (b"\xef\xbb\xbf" + QUESTION, 400, "malformed_json"),
    "UTF-16": (QUESTION.decode().encode("utf-16"), 400, "malformed_json"),
    "bad UTF-8 in a string that is used": (QUESTION.replace(b"device-1", b"dev\xff"), 400, "malformed_json"),
    "bad UTF-8 in an unknown member": (add_member(b'"x":"\xc3("'), 400, "malformed_json"),
    "bad UTF-8 in a key": (add_member(b'"\xff":1'), 400, "malformed_json"),
    "overlong UTF-8": (add_member(b'"x":"\xc0\x80"'), 400, "malformed_json"),
    "surrogate in UTF-8": (add_member(b'"x":"\xed\xa0\x80"'), 400, "malformed_json"),
    "nested 30,000 deep": (add_member(b'"x":' + b"[" * 30_000 + b"]" * 30_000), 400, "malformed_json"),
    "nested 60,000 deep without an end": (b"[" * 60_000, 400, None),
    "nested 12,000 objects deep": (b'{"x":' * 12_000 + b"1" + b"}" * 60, 400, None),
    "10,000 programs": (ask_about(10_000), 413, "too_large"),
    "201 programs": (ask_about(201), 400, "too_many_programs"),
    "no programs": (ask_about(0), 400, "bad_field"),
    "65,537 bytes": (pad(MAX_BODY + 1), 413, "too_large"),
    "1,000,000 bytes": (pad(1_000_000), 413, "too_large"),
    "an array": (b"[]", 400, "bad_field"),
    "a number of 60,000 digits": (add_member(b'"workspace":' + b"9" * 60_000), 400, None),
    "a workspace that is not served": (QUESTION.replace(b'"demo"', b'"elsewhere"'), 404, "unknown_workspace"),
    "a workspace without rules": (QUESTION.replace(b'"demo"', b'"empty"'), 503, "no_ruleset"),
}

ANSWERED = {
    "65,536 bytes": pad(MAX_BODY),
    "nested 100 deep": add_member(b'"x":' + b"[" * 100 + b"]" * 100),
    "duplicate keys, the last counts": b'{"workspace":"elsewhere","device":{"id":"a","platform":"ios"},' + QUESTION[1:],
    "unknown members": add_member(b'"head":true,"more":[{"a":null}]'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(server: WireServer, name: str) -> None:
    """The documented code, as JSON; where several fit, any."""
    body, status, code = REFUSED[name]
    with Client(server) as client:
        client.send(make_check(body))
        answer = client.read()
    assert answer is not None
    assert (answer.status, answer.type) == (status, "application/json")
    assert answer.code == code if code else answer.code in {"malformed_json", "bad_field"}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_in_the_same_words(both: dict[str, WireServer], name: str) -> None:
    """Status, type and body are the same with the lane and without."""
    sent = make_check(REFUSED[name][0])
    assert ask(both["lane"], sent) == ask(both["plain"], sent)


@pytest.mark.parametrize("name", [name for name, (_, status, _) in REFUSED.items() if status != 413])
def test_goes_on_after_a_refusal(server: WireServer, name: str) -> None:
    """Where the next request begins is known, so that the connection may stay."""
    refused, good = ask(server, make_check(REFUSED[name][0]) + make_check())
    assert (refused.status, good) == (REFUSED[name][1], GOOD)


@pytest.mark.parametrize("name", ANSWERED)
def test_answers(server: WireServer, name: str) -> None:
    """What JSON allows is answered."""
    assert ask(server, make_check(ANSWERED[name])) == [GOOD]


def test_nesting_between_the_limits_is_answered_or_refused(both: dict[str, WireServer]) -> None:
    """A thousand levels are the server's choice, which is the same with the lane and without."""
    check = make_check(add_member(b'"x":' + b"[" * 1_000 + b"]" * 1_000))
    lane, plain = ask(both["lane"], check), ask(both["plain"], check)
    assert lane == plain
    assert lane == [GOOD] or lane[0].code == "malformed_json"


def test_the_last_of_two_members_counts_whole(server: WireServer) -> None:
    """Nothing of the first `programs` is kept."""
    programs = b'"programs":{"9999999999999999":"1.0"},"programs"'
    assert ask(server, make_check(QUESTION.replace(b'"programs"', programs))) == [GOOD]


def test_says_when_to_ask_again_where_rules_have_not_arrived(server: WireServer) -> None:
    """A 503 comes with Retry-After in whole seconds."""
    with Client(server) as client:
        client.send(make_check(REFUSED["a workspace without rules"][0]))
        assert client.read() is not None
        assert b"\r\nRetry-After: 5\r\n" in client.heads[0]


def test_a_client_that_sends_on_reads_its_413(server: WireServer) -> None:
    """The answer to a body that is too large is not lost with what the client still had under way."""
    with Client(server) as client:
        client.send(make_check(b"x" * 4_000_000))
        answer = client.read()
    assert answer is not None
    assert answer.code == "too_large"
