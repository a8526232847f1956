"""A question as it is kept for trying rules out: what a device said, without its ids, and on which lists it was."""

from typing import Annotated

from msgspec import Meta, Struct

from ruleset.model import Device, Time

# Read from files that an operator may have from anywhere.
MAX_NAMES = 10_000


class Sample(Struct, frozen=True, omit_defaults=True):
    """One question of a device. Its ids, and its user's, are hashes that nobody can turn back; tags are as they came.

    `at` is when it was asked, in seconds; `programs` has the version installed, empty for none, by the program's id.
    `audiences` are the names of the audiences that held its user, `windows` the ids of those that it was in.
    """

    at: Time
    workspace: str
    device: Device
    programs: dict[str, str]
    audiences: Annotated[list[str], Meta(max_length=MAX_NAMES)] = []
    windows: Annotated[list[str], Meta(max_length=MAX_NAMES)] = []
    proven: bool = False
