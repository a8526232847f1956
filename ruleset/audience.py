"""The words of an audience document: a whitelist's name, where its fingerprints lie, and its patterns; shape only.

Field by field the same as `contract/audience.md`. The ids themselves are in no document.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ruleset.errors import DocumentError
from ruleset.fingerprint import MAX_FILE_BYTES, MAX_FINGERPRINTS, measure_file
from ruleset.model import MAX_URL, AudienceName, Counter, KeyName, Text
from ruleset.pattern import MAX_PATTERNS, compile_patterns


class AudienceDocument(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An audience. The last three members are the publisher's; an author's document has none of them.

    `sha256`, `size` and `url` are those of its file of `count` fingerprints under the key that `key` names; without a
    file an audience has patterns alone. One that is `removed` holds nobody and has nothing else.
    """

    format: Literal[1]
    audience: AudienceName
    key: KeyName = ""
    count: Annotated[int, Meta(ge=0, le=MAX_FINGERPRINTS)] = 0
    size: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)] = 0
    sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    url: Annotated[str, Meta(max_length=MAX_URL)] = ""
    patterns: Annotated[list[Text], Meta(max_length=MAX_PATTERNS)] = []
    removed: bool = False
    workspace: Annotated[str, Meta(max_length=64)] = ""
    epoch: Counter = 0
    revision: Counter = 0


def check_audience(document: AudienceDocument) -> None:
    """Returns if the members of an audience document fit together.

    Raises:
        DocumentError: names the place where not.
    """
    has_file = bool(document.sha256)
    members = {name: bool(getattr(document, name)) for name in ("key", "count", "size", "url")}
    for name, is_there in members.items():
        if is_there != has_file:
            wanted = "with sha256" if has_file else "without sha256"
            raise DocumentError(f"$.{name}", f"expected {'one' if has_file else 'none'} {wanted}")
    if has_file and document.size != measure_file(document.count):
        expected = f"expected {measure_file(document.count)}, the bytes of {document.count} fingerprints"
        raise DocumentError("$.size", f"{expected}, got {document.size}")
    compile_patterns(document.patterns, "$.patterns")
    if document.removed and (has_file or document.patterns):
        raise DocumentError("$.removed", "expected neither a file nor patterns in an audience that is removed")
    if not (document.removed or has_file or document.patterns):
        raise DocumentError("$", "expected sha256 or patterns, got neither: an audience of nobody (removed says that)")
