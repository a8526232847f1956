"""The wire as values: what is asked, what may be answered, and what an error says."""

import json
from typing import Any

import pytest

from container import Device, EdgeError, OverloadedError
from container.wire import Event, decode_answer, encode_question, encode_report, explain_status, read_retry_after

UPDATE = {"program": "20210000", "action": "remove", "offer": "x"}


def answer(**changes: Any) -> bytes:
    return json.dumps({"revision": 1, "poll_after": 300, **changes}).encode()


def test_question_leaves_out_what_is_not_known() -> None:
    """Empty members of a device are not told."""
    question = json.loads(encode_question("demo", Device("d", "ios"), {"20210000": ""}))
    assert question == {"workspace": "demo", "device": {"id": "d", "platform": "ios"}, "programs": {"20210000": ""}}


def test_key_shows_nowhere() -> None:
    """What opens a sealed package is in no text that is made of an update, an answer, or an error about them."""
    told = {**UPDATE, "action": "install", "version": "1.0", "key": "AGE-SECRET-KEY-1X"}
    decoded = decode_answer(answer(updates=[told]), ["20210000"])
    assert decoded.updates[0].key == "AGE-SECRET-KEY-1X"
    shown = f"{decoded!r} {decoded} {decoded.updates[0]!r} {decoded.updates!r} {decoded.updates[0]}"
    assert "AGE" not in shown
    assert "version='1.0'" in shown
    for wrong in ([{**told, "action": "x"}], [told, told]):
        with pytest.raises(EdgeError) as caught:
            decode_answer(answer(updates=wrong), ["20210000"])
        assert "AGE" not in f"{caught.value} {caught.value.__cause__!r}"


def test_report_tells_all_of_an_event() -> None:
    """An event has the members of the wire, under the wire's names."""
    event = Event(
        program="20210000", before="1", after="2", release="r", outcome="fell_back", reason="not_confirmed",
        transfer="dcz", bytes=3, ms=4, at=5, nonce="n",
    )  # fmt: skip
    assert json.loads(encode_report("demo", Device("d", "ios"), [event]))["events"] == [
        {"program": "20210000", "from": "1", "to": "2", "release": "r", "outcome": "fell_back",
         "reason": "not_confirmed", "transfer": "dcz", "bytes": 3, "ms": 4, "at": 5, "nonce": "n"},
    ]  # fmt: skip


def test_answer_may_say_more() -> None:
    """Members that this version does not know are ignored."""
    decoded = decode_answer(answer(head="x", updates=[{**UPDATE, "new": 1}]), ["20210000"])
    assert [update.program for update in decoded.updates] == ["20210000"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected the answer of an edge, got something else: Input data was truncated"),
        (b"<html>", "expected the answer of an edge, got something else: JSON is malformed"),
        (b"[" * 100_000, "expected the answer of an edge, got something else: "),
        (answer(poll_after=-1), "expected the answer of an edge, got something else: Expected `int` >= 0"),
        (answer(poll_after=95_041), "expected the answer of an edge, got something else: Expected `int` <= 95040"),
        (answer(updates=[{}]), "expected the answer of an edge, got something else: Object missing required field"),
        (
            answer(updates=[{**UPDATE, "action": "x"}]),
            "expected the answer of an edge, got something else: Invalid",
        ),
        (answer(updates=[{**UPDATE, "release": "r" * 257}]), "expected the answer of an edge, got something else: "),
        (answer(updates=[{**UPDATE, "version": "1" * 257}]), "expected the answer of an edge, got something else: "),
        (answer(updates=[{**UPDATE, "offer": "x" * 8193}]), "expected the answer of an edge, got something else: "),
        (answer(updates=[UPDATE] * 201), "expected the answer of an edge, got something else: Expected `array`"),
        (
            answer(updates=[UPDATE, UPDATE]),
            "expected at most one update for each program asked about, got ['202",
        ),
        (
            answer(updates=[{**UPDATE, "program": "x"}]),
            "expected at most one update for each program asked about",
        ),
    ],
)
def test_bad_answer_is_refused(body: bytes, message: str) -> None:
    """An answer that is malformed, unbounded or about something else is the edge's error."""
    with pytest.raises(EdgeError) as caught:
        decode_answer(body, ["20210000"])
    assert str(caught.value).startswith(message)


def test_refusal_has_code_and_message() -> None:
    """A 4xx tells the wire's code and message, escaped and cut."""
    body = json.dumps({"error": {"code": "bad_field", "message": "x\n" * 500}}).encode()
    error = explain_status(400, {}, body)
    assert type(error) is EdgeError
    assert (error.status, error.code) == (400, "bad_field")
    assert str(error).startswith("the edge refuses the request, see its operator: 400 'bad_field' 'x\\nx\\n")
    assert len(str(error)) < 400


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b'{"error":1}', b"\xff"])
def test_page_of_a_proxy_is_survived(body: bytes) -> None:
    """An error whose body is not the wire's has an empty code."""
    error = explain_status(502, {"retry-after": "9"}, body)
    assert isinstance(error, OverloadedError)
    assert (error.code, error.retry_after_s) == ("", 9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("7", 7), (" 7 ", 7), ("86401", 86_400), ("9" * 5000, 86_400), ("", 0), ("-1", 0), ("1.5", 0),
     ("\u0661", 0), ("Fri, 20 Nov 2026 11:00:00 GMT", 0)],
)  # fmt: skip
def test_retry_after_is_whole_seconds(text: str, seconds: int) -> None:
    """Retry-After is whole seconds, a day at most; anything else says nothing."""
    assert read_retry_after(text) == seconds
