"""Tests of edge/body.py."""

import msgspec
import pytest
from msgspec import Struct

from edge.body import MAX_BODY_BYTES, MAX_STRING, Text, decode_body
from edge.errors import RefusedError


class Form(Struct):
    """A body with a text and a number."""

    name: Text
    count: int = 0


DECODER = msgspec.json.Decoder(Form)


def refuse(body: bytes) -> RefusedError:
    """The refusal that a body gets."""
    with pytest.raises(RefusedError) as caught:
        decode_body(body, DECODER)
    return caught.value


def test_body_is_decoded() -> None:
    """A body becomes the value that its type has; members that it does not know are ignored."""
    found = decode_body('{"name":"Łódź","count":3,"other":[{"deep":null}]}'.encode(), DECODER)
    assert found == Form("Łódź", 3)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", "malformed_json", "expected a JSON object in UTF-8 (Input data was truncated)"),
        (b'{"name":', "malformed_json", "expected a JSON object in UTF-8 (Input data was truncated)"),
        (b'{"name":"a"}}', "malformed_json", "trailing characters"),
        (b'{"name":"\xff"}', "malformed_json", "expected a JSON object in UTF-8"),
        (b'{"name":"a","other":"\xff"}', "malformed_json", "expected a JSON object in UTF-8"),
        (b"\xef\xbb\xbf{}", "malformed_json", "expected a JSON object in UTF-8"),
        (b"{}", "missing_field", "object missing required field `name`"),
        (b"[]", "bad_field", "expected `object`, got `array`"),
        (b'{"name":7}', "bad_field", "expected `str`, got `int` - at `$.name`"),
        (b'{"name":"a","count":"7"}', "bad_field", "expected `int`, got `str` - at `$.count`"),
    ],
)
def test_body_is_refused(body: bytes, code: str, message: str) -> None:
    """What is no such body is refused with the code of its fault and the place where it is."""
    error = refuse(body)
    assert error.code == code
    assert message in error.message


def test_nesting_is_bounded() -> None:
    """A body that is nested too deeply is refused, in a member that nobody wants too, and costs no process."""
    error = refuse(b'{"name":"a","other":' + b"[" * 30_000 + b"]" * 30_000 + b"}")
    assert (error.code, error.message) == ("malformed_json", "expected a JSON object, got one nested too deeply")


def test_size_is_bounded() -> None:
    """A body has at most MAX_BODY_BYTES, and one of just that many is read."""
    body = b'{"name":"a"}'
    assert decode_body(body.ljust(MAX_BODY_BYTES), DECODER) == Form("a")
    error = refuse(body.ljust(MAX_BODY_BYTES + 1))
    assert error.code == "too_large"
    assert error.message == f"expected a body of at most {MAX_BODY_BYTES} bytes, got {MAX_BODY_BYTES + 1}"


@pytest.mark.parametrize("letter", ["a", "字"])
def test_texts_are_bounded(letter: str) -> None:
    """A text has at most MAX_STRING characters, whatever bytes they take."""
    assert decode_body(f'{{"name":"{letter * MAX_STRING}"}}'.encode(), DECODER).name == letter * MAX_STRING
    error = refuse(f'{{"name":"{letter * (MAX_STRING + 1)}"}}'.encode())
    assert (error.code, error.message) == ("bad_field", f"expected `str` of length <= {MAX_STRING} - at `$.name`")
