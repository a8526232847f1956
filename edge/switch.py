"""The switches of a workspace as a worker holds them: answers encoded at load, one immutable board, replaced whole.

How they are asked for on the wire is `edge.ofrep`'s and `edge.answer`'s matter; which variant it is, `ruleset`'s.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

import orjson
from msgspec.structs import asdict

from channel import Position
from ruleset import (
    Circumstances,
    CompiledSwitch,
    CompiledSwitches,
    Device,
    SwitchesDocument,
    SwitchReason,
    compile_switches,
    decide_switch,
)
from ruleset.sheet import Bits

MARK_BYTES: Final = 8
DIGEST_BYTES: Final = 16
# Part of every mark: another way of telling the same decision makes other answers.
FORM: Final = b"1"
KEY_MISSING: Final = "expected a targetingKey: a percentage of devices asks for one"


class Told(NamedTuple):
    """One decision's JSON: as an item of OFREP's list, and as a member of a check's answer; `is_error` is OFREP's."""

    item: bytes
    member: bytes
    is_error: bool = False


class Face(NamedTuple):
    """A switch, and what can be told of it by variant and reason."""

    switch: CompiledSwitch
    told: dict[tuple[str | None, SwitchReason], Told]


class SwitchSet(CompiledSwitches, frozen=True, gc=False):
    """A switch set with its answers: `fixed` is what everybody is told, joined; `moving` are the other switches."""

    position: Position
    faces: tuple[Face, ...]
    fixed: Told
    moving: tuple[Face, ...]


def compile_set(document: SwitchesDocument) -> SwitchSet:
    """Returns a published switch set, compiled and with its answers encoded.

    Raises:
        DocumentError: the document does not compile.
    """
    compiled = compile_switches(document)
    faces = tuple([Face(switch, dict(_encode_tellings(switch))) for switch in compiled.switches])
    fixed = [told for face in faces if _is_fixed(face.switch) for told in face.told.values()]
    return SwitchSet(
        **asdict(compiled),
        position=Position(document.epoch, document.revision),
        faces=faces,
        fixed=Told(b",".join([told.item for told in fixed]), b",".join([told.member for told in fixed])),
        moving=tuple([face for face in faces if not _is_fixed(face.switch)]),
    )


def _is_fixed(switch: CompiledSwitch) -> bool:
    return switch.is_disabled or not switch.live


def _encode_tellings(switch: CompiledSwitch) -> Iterator[tuple[tuple[str | None, SwitchReason], Told]]:
    """All that `decide_switch` can decide."""
    key = orjson.dumps(switch.key)
    for variant, reason in dict.fromkeys(_list_decisions(switch)):
        yield (variant, reason), _encode(key, switch, variant, reason)


def _list_decisions(switch: CompiledSwitch) -> Iterator[tuple[str | None, SwitchReason]]:
    if switch.is_disabled:
        yield None, SwitchReason.DISABLED
        return
    yield switch.default, SwitchReason.UNKNOWN if switch.live else SwitchReason.STATIC
    for rule in switch.live:
        yield rule.variant, SwitchReason.TARGETING_MATCH
        if rule.percent is not None:
            yield rule.variant, SwitchReason.SPLIT
            yield None, SwitchReason.KEY_MISSING


def _encode(key: bytes, switch: CompiledSwitch, variant: str | None, reason: SwitchReason) -> Told:
    """Clients compare the JSON of a switch with what they have, so that the order of members stays as it is."""
    if reason is SwitchReason.KEY_MISSING:
        told = {"errorCode": reason.value, "errorDetails": KEY_MISSING}
    else:
        value = {} if variant is None else {"value": switch.values[variant]}
        told = {**value, "reason": reason.value, "variant": variant or ""}
    members = orjson.dumps(told)
    item = b'{"key":%b,%b' % (key, members[1:])
    return Told(item, b"%b:%b" % (key, members), is_error=reason is SwitchReason.KEY_MISSING)


class Board:
    """All switch sets of a workspace, ready to ask. `asked` are the names of the tags that their conditions ask for.

    `changes` are the seconds at which rules change by themselves, ascending.

    Args:
        sets: by name; the publisher sees to it that no two have one key.
        around: stands for the audiences that they are asked with: the same bytes wherever those are the same.
    """

    __slots__ = ("_faces", "_fixed", "_moving", "asked", "changes", "mark", "sets")

    def __init__(self, sets: Mapping[str, SwitchSet], around: bytes = b"") -> None:
        self.sets = sets
        ordered = [sets[name] for name in sorted(sets)]
        said = [FORM, around, *(f"{one.id} {one.position}".encode() for one in ordered)]
        self.mark = blake2b(b"\0".join(said), digest_size=MARK_BYTES).hexdigest().encode()
        self._fixed = [one.fixed for one in ordered if one.fixed.item]
        self._moving = [one for one in ordered if one.moving]
        self.asked = sorted({name for one in ordered for name, _ in one.tags})
        self.changes = sorted({change for one in ordered for change in one.changes})
        self._faces = {face.switch.key: (one, face) for one in ordered for face in one.faces}

    def make_etag(self, device: Device, now: int, keys: Iterable[str] = ()) -> bytes:
        """Returns the entity tag, with its quotes, of what a device is told of all switches, or of those of some keys.

        It changes with the sets, the audiences, all that conditions can ask of the device, and the seconds at which
        rules change by themselves; so nothing need be evaluated to know that nothing has changed.
        """
        tags = device.tags or {}
        said = (
            device.id, device.user, device.platform, device.os, device.app, device.manufacturer, device.model,
            device.network, device.city, device.region, device.country, device.locale,
            [tags.get(name) for name in self.asked], keys,
        )  # fmt: skip
        digest = blake2b(orjson.dumps(said), digest_size=DIGEST_BYTES).hexdigest().encode()
        change = bisect_right(self.changes, now)
        return b'"%b-%d-%b"' % (self.mark, self.changes[change - 1] if change else 0, digest)

    def tell(self, key: str, device: Device, now: int, around: Circumstances) -> Told | None:
        """Returns what a device is told of one switch, None where there is none of that key."""
        found = self._faces.get(key)
        if found is None:
            return None
        set_, face = found
        return _tell(face, device, set_.gather(device), now, around)

    def tell_some(self, keys: Iterable[str], device: Device, now: int, around: Circumstances) -> Iterator[Told]:
        """Yields what a device is told of the switches of some keys; those that there are not are left out."""
        for key in dict.fromkeys(keys):
            told = self.tell(key, device, now, around)
            if told is not None:
                yield told

    def tell_all(self, device: Device, now: int, around: Circumstances) -> Iterator[Told]:
        """Yields what a device is told of all switches; those that are the same for everybody come joined."""
        yield from self._fixed
        for set_ in self._moving:
            satisfied = set_.gather(device)
            for face in set_.moving:
                yield _tell(face, device, satisfied, now, around)


def _tell(face: Face, device: Device, satisfied: Bits, now: int, around: Circumstances) -> Told:
    return face.told[decide_switch(face.switch, device, satisfied, now, around)]


NO_SWITCHES: Final = Board({})
