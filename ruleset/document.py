"""Program documents from bytes and back: the only door through which a document enters, and it is narrow.

It checks shape and size and turns every failure into a DocumentError with the JSON path; meaning is the compiler's.
"""

import re

import msgspec
import orjson

from ruleset.errors import DocumentError
from ruleset.model import Program

# One document may not fill a host's memory; 100,000 inline users of 8 characters fit.
MAX_DOCUMENT_BYTES = 1 << 20

# The last place in a message is the decoder's; an earlier one may be the author's text.
_PLACE = re.compile(r" - at (?:`key` in )?`(?P<path>\$[^`]*)`\Z")

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
        raise _locate(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError("$", f"expected a JSON document in UTF-8, got bytes that are none ({error})") from None
    except RecursionError:
        raise DocumentError("$", "expected a program document, got one nested too deeply") from None


def encode(program: Program) -> bytes:
    """Returns a document's canonical bytes: sorted members, no blanks; top members at their defaults are left out.

    Raises:
        DocumentError: `permissions` or `extra` hold what JSON libraries do not agree on.
    """
    try:
        members = msgspec.to_builtins(program).items()
        told = {name: value for name, value in members if value != _DEFAULTS.get(name, ...)}
        return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError) as error:
        raise DocumentError("$.packages", f"expected permissions and extra of plain JSON ({error})") from None


_DEFAULTS = {info.name: info.default for info in msgspec.structs.fields(Program)}


def _locate(message: str) -> DocumentError:
    """The decoder's message in two: what is wrong, and the JSON path that it ends with where there is one."""
    found = _PLACE.search(message)
    what = message[: found.start()] if found else message
    return DocumentError(found["path"] if found else "$", what[:1].lower() + what[1:])
