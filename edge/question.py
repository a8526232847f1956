"""A device's question, from bytes to typed values: one strict decode, and every failure a refusal with a code.

It knows JSON and the limits of `contract/check.md`; what the answer is, is not its business.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edge.body import Text, decode_body
from edge.errors import RefusedError
from edge.trial import MAX_TRIAL_CHARS
from ruleset import NOT_INSTALLED, Device, VersionError, parse_version

# Every program asked about costs an evaluation.
MAX_PROGRAMS = 200
# Each that is new costs a verification.
MAX_TRIALS = 4
# Each is looked up; who wants more asks for all.
MAX_SWITCH_KEYS = 200
TrialToken = Annotated[str, Meta(max_length=MAX_TRIAL_CHARS)]
# How many version texts are remembered; made-up ones cost a parse each and never more memory than this.
MAX_REMEMBERED = 16_384


class Question(Struct, frozen=True, gc=False):
    """What a device asks: its workspace, itself, and each program with the version it has (empty for none).

    `trials` are tokens that give its user versions which are not out yet. `switches` are the keys of those that it
    wants, True for all, and `switches_etag` is the tag of those that it has.
    """

    workspace: Text
    device: Device
    programs: Annotated[dict[Text, Text], Meta(min_length=1, max_length=MAX_PROGRAMS)]
    trials: Annotated[list[TrialToken], Meta(max_length=MAX_TRIALS)] | None = None
    switches: bool | Annotated[list[Text], Meta(max_length=MAX_SWITCH_KEYS)] | None = None
    switches_etag: Text | None = None


class _Versions(dict[str, int]):
    """The keys of installed versions by their text, remembered; the empty text is NOT_INSTALLED."""

    def __missing__(self, text: str) -> int:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        try:
            key = parse_version(text) if text else NOT_INSTALLED
        except VersionError as error:
            raise RefusedError("bad_field", f"{error} - at `$.programs[...]`") from None
        self[text] = key
        return key


# The key of each installed version, by its text; raises RefusedError `bad_field` for what is no version.
VERSIONS = _Versions()

_decoder = msgspec.json.Decoder(Question)


def parse_question(body: bytes) -> Question:
    """Returns the question that a body holds.

    Raises:
        RefusedError: `malformed_json`, `missing_field`, `bad_field`, `too_many_programs` or `too_large`.
    """
    return decode_body(body, _decoder)
