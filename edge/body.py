"""JSON bodies from the network to typed values: one strict decode, and every failure a refusal with a code."""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from edge.errors import RefusedError

# A question with 200 programs takes 8 KiB; a larger body only keeps the parser busy.
MAX_BODY_BYTES = 64 * 1024
# Of each string, in characters as JSON Schema counts them.
MAX_STRING = 256

Text = Annotated[str, Meta(max_length=MAX_STRING)]
_Value = TypeVar("_Value")


def decode_body(body: bytes, decoder: "msgspec.json.Decoder[_Value]") -> _Value:
    """Returns the value that a body holds, as the decoder's type has it.

    Raises:
        RefusedError: `too_large`, `malformed_json`, `missing_field` or `bad_field`.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RefusedError("too_large", f"expected a body of at most {MAX_BODY_BYTES} bytes, got {len(body)}")
    try:
        value = decoder.decode(body)
        if not body.isascii():
            body.decode()  # the decoder skips the strings that no member wants
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError("malformed_json", f"expected a JSON object in UTF-8 ({error})") from None
    except RecursionError:
        raise RefusedError("malformed_json", "expected a JSON object, got one nested too deeply") from None
    return value


def _explain(message: str) -> RefusedError:
    """A decoder's message, which names type and path, as the refusal that the contract knows."""
    code = "bad_field"
    if message.startswith("Object missing required field"):
        code = "missing_field"
    elif message.startswith("Expected `object` of length <=") and message.endswith("`$.programs`"):
        code = "too_many_programs"
    return RefusedError(code, message[:1].lower() + message[1:])
