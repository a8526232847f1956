"""A program's document, changed: each function returns another one, complete, and leaves the one it got as it is. PURE.

What may be published is the publisher's to judge; here is only refused what would change something else than was meant.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from cli.exit import CommandError, Exit
from cli.moment import read_moment

Json = dict[str, Any]

# Documents have percentages in parts of a million.
PARTS: Final = 1_000_000
# What a release takes over from one that it continues, unless it is told otherwise.
_HANDED_ON: Final = ("who", "when", "clients")


def count_parts(percent: str) -> int:
    """Returns how many parts of a million a percentage is, exactly.

    Raises:
        CommandError: it is none, or finer than a part.
    """
    try:
        parts = Decimal(percent) * PARTS / 100
        if parts == int(parts) and 0 <= parts <= PARTS:
            return int(parts)
    except (ArithmeticError, ValueError):
        pass  # no number, or none that is finite
    raise CommandError(f"expected a percentage from 0 to 100 in steps of 0.0001, got {percent!r}", Exit.USAGE)


def read_ramp(text: str, now: float) -> list[Json]:
    """Returns the steps of a ramp, `5%@TIME,20%@TIME`; `now` is from when on `+2h` counts.

    Raises:
        CommandError: it is none, or its times or percentages do not rise.
    """
    steps: list[Json] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9.]+)%?@(\S+)\s*", part)
        if found is None:
            raise CommandError(f"expected a ramp such as 5%@+1h,20%@2026-01-31T09:00, got {text!r}", Exit.USAGE)
        step = {"at": read_moment(found[2], now), "parts": count_parts(found[1])}
        if steps and (step["at"] <= steps[-1]["at"] or step["parts"] < steps[-1]["parts"]):
            raise CommandError(f"expected a ramp whose times and percentages rise, got {text!r}", Exit.USAGE)
        steps.append(step)
    return steps


def choose_who(
    parts: int | None = None,
    steps: Sequence[Json] = (),
    users: Sequence[str] = (),
    audiences: Sequence[str] = (),
    window: Json | None = None,
) -> Json | None:
    """Returns a *who* of what is given, None for everybody where nothing is; steps alone begin with nobody."""
    who: Json = {}
    if users:
        who["users"] = list(users)
    if parts is not None or steps:
        who["percent"] = {"parts": parts or 0, **({"steps": list(steps)} if steps else {})}
    if audiences:
        who["audiences"] = list(audiences)
    if window is not None:
        who["window"] = window
    return who or None


def find_release(document: Json, name: str) -> Json:
    """Returns a release of a document.

    Raises:
        CommandError: it has none of that id; those that there are, are named.
    """
    for release in document["releases"]:
        if release["id"] == name:
            found: Json = release
            return found
    ids = ", ".join(release["id"] for release in document["releases"])
    raise CommandError(f"expected a release of {ids or 'none'}, got {name}", Exit.USAGE)


def insert_release(document: Json, release: Json, below: str | None = None) -> Json:
    """Returns a document with one release more, on top or below another one; raises CommandError."""
    changed = _copy(document)
    changed["releases"].insert(_find_place(changed, below), release)
    return changed


def name_release(document: Json) -> str:
    """Returns the first of r1, r2, … that no release has."""
    ids = {release["id"] for release in document["releases"]}
    return next(f"r{n}" for n in range(1, len(ids) + 2) if f"r{n}" not in ids)


def change_release(document: Json, name: str, changes: Mapping[str, Any]) -> Json:
    """Returns a document with members of a release replaced; raises CommandError."""
    changed = _copy(document)
    find_release(changed, name).update(changes)
    return changed


def move_release(document: Json, name: str, below: str | None = None) -> Json:
    """Returns a document with a release on top, or below another one; raises CommandError."""
    changed = _copy(document)
    release = find_release(changed, name)
    if name == below:
        raise CommandError(f"expected another release than {name} for --below", Exit.USAGE)
    changed["releases"].remove(release)
    changed["releases"].insert(_find_place(changed, below), release)
    return changed


def ramp_release(document: Json, name: str, parts: int | None, steps: Sequence[Json], now: int) -> Json:
    """Returns a document whose release has another percentage; its salt stays, so that nobody who is in leaves.

    Args:
        document: the one before.
        name: the release's id.
        parts: from now on; None for those that it has come to.
        steps: what replaces its steps, none to hold it where it is.
        now: seconds, by which it is known what it has come to.

    Raises:
        CommandError: there is no such release, or it has no percentage.
    """
    changed = _copy(document)
    percent = (find_release(changed, name).get("who") or {}).get("percent")
    if percent is None:
        raise CommandError(f"expected a release with a percentage, got {name}, which has none", Exit.USAGE)
    reached = [step["parts"] for step in percent.get("steps") or () if step["at"] <= now]
    percent["parts"] = parts if parts is not None else reached[-1] if reached else percent["parts"]
    percent["steps"] = list(steps)
    return changed


def continue_release(document: Json, name: str, given: Json) -> Json:
    """Returns the members of a release that continues another: what is not given of whom it is for is taken over.

    So a hotfix that continues a gray reaches the same devices, and never everybody by oversight.
    """
    before = find_release(document, name)
    handed_on = {member: before[member] for member in _HANDED_ON if before.get(member) and member not in given}
    return {**_copy(handed_on), **given, "continues": name}


def roll_back(document: Json, version: str, sources: Iterable[str], members: Json, below: str | None = None) -> Json:
    """Returns a document with a release that takes devices back to a version from these; raises CommandError.

    Args:
        document: the one before.
        version: as `packages` writes it.
        sources: the versions that are taken back.
        members: of the release, its id among them.
        below: the release that it goes below, else on top.
    """
    if version not in document["packages"]:
        known = ", ".join(document["packages"])
        raise CommandError(f"expected a version of {known or 'none'}, got {version}", Exit.USAGE)
    release = {**members, "package": version, "rollback": {"from": list(sources)}}
    return insert_release(document, release, below)


def _find_place(document: Json, below: str | None) -> int:
    if below is None:
        return 0
    return int(document["releases"].index(find_release(document, below))) + 1


def _copy(document: Json) -> Json:
    copied: Json = json.loads(json.dumps(document))
    return copied
