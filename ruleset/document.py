"""Documents from bytes and back: the only door through which a document of any kind enters, and it is narrow.

It checks shape and size and turns every failure into a DocumentError with the JSON path; meaning is the compiler's.
"""

import re
from typing import Generic, TypeVar

import msgspec
import orjson

from ruleset.audience import AudienceDocument
from ruleset.errors import DocumentError
from ruleset.model import Program
from ruleset.switch import SwitchesDocument

_Document = TypeVar("_Document", bound=msgspec.Struct)

# One document may not fill a host's memory; 100,000 inline users of 8 characters fit.
MAX_DOCUMENT_BYTES = 1 << 20

# The last place in a message is the decoder's; an earlier one may be the author's text.
_PLACE = re.compile(r" - at (?:`key` in )?`(?P<path>\$[^`]*)`\Z")


class Door(Generic[_Document]):
    """Reads and writes the documents of one kind.

    Args:
        type_: what they become.
        what: what they are called in errors.
    """

    def __init__(self, type_: type[_Document], what: str) -> None:
        self._decoder = msgspec.json.Decoder(type_)
        self._what = what
        self._defaults = {info.name: info.default for info in msgspec.structs.fields(type_)}

    def parse(self, data: bytes) -> _Document:
        """Returns the document that JSON bytes hold, in the author's or in the published form.

        Raises:
            DocumentError: not JSON, or a member that is missing, unknown, of another type or out of its bounds.
        """
        if len(data) > MAX_DOCUMENT_BYTES:
            raise DocumentError("$", f"expected at most {MAX_DOCUMENT_BYTES} bytes, got {len(data)}")
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise _locate(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DocumentError("$", f"expected a JSON document in UTF-8, got bytes that are none ({error})") from None
        except RecursionError:
            raise DocumentError("$", f"expected {self._what}, got one nested too deeply") from None

    def encode(self, document: _Document) -> bytes:
        """Returns a document's canonical bytes: sorted members, no blanks; top members at their defaults are left out.

        Raises:
            DocumentError: it holds what JSON libraries do not agree on; only a program's `permissions` and `extra` can.
        """
        try:
            members = msgspec.to_builtins(document).items()
            told = {name: value for name, value in members if value != self._defaults.get(name, ...)}
            return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        except (TypeError, RecursionError) as error:
            raise DocumentError("$.packages", f"expected permissions and extra of plain JSON ({error})") from None


_programs = Door(Program, "a program document")
_audiences = Door(AudienceDocument, "an audience document")
_switches = Door(SwitchesDocument, "a switch set")
parse_program, encode = _programs.parse, _programs.encode
parse_audience, encode_audience = _audiences.parse, _audiences.encode
parse_switches, encode_switches = _switches.parse, _switches.encode


def _locate(message: str) -> DocumentError:
    """The decoder's message in two: what is wrong, and the JSON path that it ends with where there is one."""
    found = _PLACE.search(message)
    what = message[: found.start()] if found else message
    return DocumentError(found["path"] if found else "$", what[:1].lower() + what[1:])
