"""Tests of edge/exchange.py."""

from typing import Any

import orjson
import pytest

from channel import Position
from edge.answer import Workspace
from edge.body import MAX_BODY_BYTES
from edge.errors import RefusedError
from edge.exchange import Rules, read_length, refuse_head
from edge.metrics import Counters
from tests.edge.press import NOW, PROGRAM, ROOT_BYTES, WORKSPACE, make_entry, make_question


@pytest.fixture
def rules() -> Rules:
    """Two workspaces, one of them without rules yet."""
    rules = Rules({name: Workspace(name, {3: ROOT_BYTES}) for name in (WORKSPACE, "empty")}, Counters())
    rules.workspaces[WORKSPACE].apply({PROGRAM: make_entry()}, Position(1, 5))
    return rules


def refuse_check(rules: Rules, **members: Any) -> RefusedError:
    """The refusal that a check gets."""
    with pytest.raises(RefusedError) as caught:
        rules.check(orjson.dumps(make_question(**members)), NOW)
    return caught.value


def test_check_is_answered_and_counted(rules: Rules) -> None:
    """A check is answered from its workspace, and counted."""
    answer = orjson.loads(rules.check(orjson.dumps(make_question()), NOW))
    assert [update["program"] for update in answer["updates"]] == [PROGRAM]
    assert answer["revision"] == 5
    assert rules.counters.checks == 1


def test_unknown_workspace(rules: Rules) -> None:
    """A workspace that is not served is named."""
    error = refuse_check(rules, workspace="shop\n")
    assert (error.code, error.message) == ("unknown_workspace", "no workspace 'shop\\n' is served here")


def test_workspace_without_rules(rules: Rules) -> None:
    """A host that has nothing yet says so, instead of that nothing is to be done."""
    error = refuse_check(rules, workspace="empty")
    assert (error.code, error.message) == ("no_ruleset", "the rules of 'empty' have not arrived yet")


def test_bad_question(rules: Rules) -> None:
    """A question that is none is refused with its own code."""
    assert refuse_check(rules, programs={}).code == "bad_field"


def test_refused_question_is_no_sample(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a version should stand a device may have put anything: what is kept for an hour has been understood."""
    drawn: list[Any] = []
    monkeypatch.setattr(rules.sampler, "take", lambda question, *_: drawn.append(question.programs))
    rules.tick(NOW)
    assert refuse_check(rules, programs={PROGRAM: "u-777"}).code == "bad_field"
    assert drawn == []
    rules.check(orjson.dumps(make_question()), NOW)
    assert len(drawn) == 1


HEAD = {"has_host": True, "length": b"5", "content_type": b"application/json", "encoding": b"", "expect": b""}


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"content_type": b"Application/JSON; charset=utf-8"},
        {"content_type": b"application/json ;x"},
        {"expect": b"100-Continue"},
        {"length": b"0"},
        {"length": str(MAX_BODY_BYTES).encode()},
    ],
)
def test_head_of_a_check(members: dict[str, Any]) -> None:
    """What clients write in a head is accepted."""
    refuse_head(**{**HEAD, **members})


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        ({"has_host": False}, "malformed_request", "expected one Host field, got none"),
        ({"length": b""}, "length_required", "expected a Content-Length and no Transfer-Encoding"),
        ({"encoding": b"chunked"}, "length_required", "expected a Content-Length and no Transfer-Encoding"),
        ({"length": b"-5"}, "malformed_request", "expected a Content-Length in digits"),
        ({"length": b"+5"}, "malformed_request", "expected a Content-Length in digits"),
        ({"length": b"5 5"}, "malformed_request", "expected a Content-Length in digits"),
        (
            {"content_type": b""},
            "unsupported_media_type",
            "expected Content-Type application/json, got ''",
        ),
        (
            {"content_type": b"text/\xff"},
            "unsupported_media_type",
            r"expected Content-Type application/json, got 'text/\\xff'",
        ),
        ({"expect": b"200-ok"}, "expectation_failed", "expected no Expect but 100-continue"),
    ],
)
def test_head_is_refused(members: dict[str, Any], code: str, message: str) -> None:
    """What is not the head of a check is refused with its code, and the connection ends."""
    with pytest.raises(RefusedError) as caught:
        refuse_head(**{**HEAD, **members})
    assert (caught.value.code, caught.value.message, caught.value.closes) == (code, message, True)


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1).encode(), b"9" * 19, b"9" * 20, b"9" * 8_000])
def test_length_is_bounded(length: bytes) -> None:
    """A length beyond the bound is refused without being counted with, and cut in the message."""
    with pytest.raises(RefusedError) as caught:
        read_length(length)
    assert caught.value.code == "too_large"
    assert caught.value.message == f"expected a body of at most {MAX_BODY_BYTES} bytes, got {length.decode()[:19]}"


def test_length_is_read() -> None:
    """A length is a number in digits, with zeros before it too."""
    assert (read_length(b"0"), read_length(b"0042"), read_length(b"65536")) == (0, 42, MAX_BODY_BYTES)
