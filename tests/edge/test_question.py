"""Tests of edge/question.py."""

from typing import Any

import orjson
import pytest

from edge import question as question_module
from edge.errors import RefusedError
from edge.question import MAX_PROGRAMS, VERSIONS, parse_question
from ruleset import NOT_INSTALLED, parse_version
from tests.edge.press import PROGRAM, WORKSPACE, make_question


def refuse(question: Any) -> RefusedError:
    """The refusal that a question gets."""
    with pytest.raises(RefusedError) as caught:
        parse_question(orjson.dumps(question))
    return caught.value


def test_question_is_read() -> None:
    """A question has a workspace, a device and programs; what newer clients add is ignored."""
    question = parse_question(orjson.dumps(make_question(head=True, switches=["a"])))
    assert (question.workspace, question.device.id, question.device.platform) == (WORKSPACE, "d-1", "android")
    assert question.programs == {PROGRAM: ""}


@pytest.mark.parametrize("member", ["workspace", "device", "programs"])
def test_member_is_missing(member: str) -> None:
    """Each of the three members has to be there, and the one that is not is named."""
    question = make_question()
    del question[member]
    error = refuse(question)
    assert (error.code, error.message) == ("missing_field", f"object missing required field `{member}`")


@pytest.mark.parametrize(
    ("members", "code", "place"),
    [
        ({"device": {"platform": "android"}}, "missing_field", "`$.device`"),
        ({"device": {"id": "d-1"}}, "missing_field", "`$.device`"),
        ({"device": {"id": "", "platform": "android"}}, "bad_field", "`$.device.id`"),
        ({"device": {"id": "d-1", "platform": "windows"}}, "bad_field", "`$.device.platform`"),
        ({"device": {"id": "d-1", "platform": "ios", "network": "6g"}}, "bad_field", "`$.device.network`"),
        ({"programs": {}}, "bad_field", "`$.programs`"),
        ({"programs": [PROGRAM]}, "bad_field", "`$.programs`"),
        ({"programs": {PROGRAM: None}}, "bad_field", "`$.programs[...]`"),
        ({"workspace": 7}, "bad_field", "`$.workspace`"),
    ],
)
def test_member_is_refused(members: dict[str, Any], code: str, place: str) -> None:
    """What a member may not be is refused, with its place."""
    error = refuse(make_question(**members))
    assert error.code == code
    assert error.message.endswith(f" - at {place}")


def test_number_of_programs_is_bounded() -> None:
    """A device asks about at most MAX_PROGRAMS, and one more has a code of its own."""
    programs = {f"{number:016}": "" for number in range(MAX_PROGRAMS + 1)}
    error = refuse(make_question(programs=programs))
    assert error.code == "too_many_programs"
    assert str(MAX_PROGRAMS) in error.message
    del programs[f"{0:016}"]
    assert len(parse_question(orjson.dumps(make_question(programs=programs))).programs) == MAX_PROGRAMS


def test_versions_have_keys() -> None:
    """The empty text is no version installed; others are keys that can be compared, however written."""
    assert VERSIONS[""] == NOT_INSTALLED
    assert VERSIONS["2.3.1"] == VERSIONS["2.3.1.0"] == parse_version("2.3.1")
    assert VERSIONS["10.0"] > VERSIONS["9.65535"]


def test_version_that_is_none_is_refused() -> None:
    """A text that is no version is refused where it stands, and not remembered."""
    with pytest.raises(RefusedError, match=r"'1\.x'.* - at `\$\.programs\[\.\.\.\]`") as caught:
        VERSIONS["1.x"]
    assert caught.value.code == "bad_field"
    assert "1.x" not in VERSIONS


def test_remembered_versions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up versions cost no memory beyond the bound, and stay right."""
    monkeypatch.setattr(question_module, "MAX_REMEMBERED", 3)
    VERSIONS.clear()
    for number in range(20):
        assert VERSIONS[f"1.{number}"] == parse_version(f"1.{number}")
        assert len(VERSIONS) <= 3
