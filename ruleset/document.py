"""Program documents from bytes and back: the only door through which a document enters, and it is narrow.

It checks shape and size and turns every failure into a DocumentError with the JSON path; meaning is the compiler's.
"""

import msgspec
import orjson

from ruleset.errors import DocumentError
from ruleset.model import Program

# One document may not fill a host's memory; 100 releases with 1,000 inline users each fit well within.
MAX_DOCUMENT_BYTES = 1 << 20

_decoder = msgspec.json.Decoder(Program)


def parse_program(data: bytes) -> Program:
    """Returns the program document that JSON bytes hold, in the author's or in the published form.

    Raises:
        DocumentError: not JSON, or a member that is missing, unknown, of another type or out of its bounds.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise DocumentError("$", f"expected at most {MAX_DOCUMENT_BYTES} bytes, got {len(data)}")
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise DocumentError(path.rstrip("`") or "$", message[:1].lower() + message[1:]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError("$", f"expected a JSON document in UTF-8, got bytes that are none ({error})") from None
    except RecursionError:
        raise DocumentError("$", "expected a program document, got one nested too deeply") from None


def encode(program: Program) -> bytes:
    """Returns a document's canonical bytes: sorted members, no blanks; members at their defaults are left out."""
    return orjson.dumps(msgspec.to_builtins(program), option=orjson.OPT_SORT_KEYS)
