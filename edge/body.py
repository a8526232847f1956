"""JSON bodies from the network to typed values: one strict decode, and every failure a refusal with a code."""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from edge.errors import RefusedError

# A question with 200 programs takes 8 KiB; a larger body only keeps the parser busy.
MAX_BODY_BYTES = 64 * 1024
# Of each string, in UTF-8.
MAX_STRING_BYTES = 256

Text = Annotated[str, Meta(max_length=MAX_STRING_BYTES)]
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
            body.decode()
            _refuse_long_strings(msgspec.to_builtins(value))
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError("malformed_json", f"expected a JSON object in UTF-8 ({error})") from None
    except RecursionError:
        raise RefusedError("malformed_json", "expected a JSON object, got one nested too deeply") from None
    return value


def _explain(message: str) -> RefusedError:
    """A decoder's message, which names type and path, as the refusal that the contract knows."""
    code = "missing_field" if message.startswith("Object missing required field") else "bad_field"
    return RefusedError(code, message[:1].lower() + message[1:])


def _refuse_long_strings(value: object) -> None:
    """The decoder counts characters; where some take several bytes, bytes are counted here."""
    if isinstance(value, str) and len(value.encode()) > MAX_STRING_BYTES:
        got = len(value.encode())
        raise RefusedError("bad_field", f"expected strings of at most {MAX_STRING_BYTES} bytes, got one of {got}")
    if isinstance(value, dict):
        for name, member in value.items():
            _refuse_long_strings(name)
            _refuse_long_strings(member)
    elif isinstance(value, list):
        for member in value:
            _refuse_long_strings(member)
