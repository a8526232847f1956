"""Why a check is decided as it is: for each release whether it decided, and if not the first thing that failed.

It walks what `evaluate` walks and asks it with the same functions, so that there is no second evaluator to disagree; a
property holds them together. The numbered steps are those of `contract/document.md`. What was asked for is told in the
author's words, which stand in the document alone.
"""

from collections.abc import Container, Iterator
from enum import StrEnum

from msgspec import Struct

from ruleset.bucket import compute_hash, find_bucket
from ruleset.circumstance import NOTHING_KNOWN, Circumstances, Place
from ruleset.compiler import TRIAL_ID, CompiledPercent, CompiledProgram, CompiledRelease, CompiledWindow
from ruleset.condition import TAG_PREFIX, Fact
from ruleset.evaluator import Reason, admits, find_place, find_trial, is_covered, is_listed
from ruleset.model import Device, Percent, Program, Release
from ruleset.sheet import choose_reader
from ruleset.version import NOT_INSTALLED, format_version


class Verdict(StrEnum):
    """What became of a release: a closed set. UNREACHED: one above it decided, or has to be asked for a place."""

    DECIDED = "decided"
    FAILED = "failed"
    UNREACHED = "unreached"


class Standing(StrEnum):
    """How a device stands to one part of a *who*: a closed set."""

    INSIDE = "inside"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"
    """The list is not known here, and admits nobody."""
    ASK = "ask"
    """Whoever keeps the window has to be asked; explaining asks nobody."""


class Failure(Struct, frozen=True):
    """The first thing that failed: what was asked for, and what was seen.

    `step` is the number in the contract, `path` the JSON path in the document. `asked` are the author's values, `said`
    is what the device says and `seen` what is read from that; None where it says nothing, or nothing that can be read.
    """

    step: int
    path: str
    attribute: str
    op: str
    asked: list[str]
    said: str | None = None
    seen: str | None = None


class Part(Struct, frozen=True, omit_defaults=True):
    """One part of a *who*, and how the device stands to it; `why` says so in words.

    `bucket` and `parts` are of a percentage, in parts of a million, the parts at the time asked for.
    """

    kind: str
    path: str
    standing: Standing
    why: str
    name: str = ""
    bucket: int | None = None
    parts: int | None = None


class ReleaseExplanation(Struct, frozen=True):
    """One release. `failed` is also told of a release that was not reached; None there means that it would decide."""

    id: str
    path: str
    version: str
    state: str
    verdict: Verdict
    failed: Failure | None
    who: list[Part]


class Explanation(Struct, frozen=True):
    """Why a check is decided as it is: the decision that `evaluate` makes, and all releases in the document's order."""

    program: str
    release: str | None
    version: str | None
    reason: Reason
    installed: str | None
    now: int
    releases: list[ReleaseExplanation]


class _Asked(Struct, frozen=True, gc=False):
    """A question: what `evaluate` is asked with."""

    device: Device
    installed: int
    now: int
    around: Circumstances
    refused: Container[str]


def explain(
    program: CompiledProgram,
    document: Program,
    device: Device,
    installed: int,
    now: int,
    around: Circumstances = NOTHING_KNOWN,
    refused: Container[str] = (),
) -> Explanation:
    """Returns why `evaluate` decides as it does.

    Args:
        program: the compiled document.
        document: what it was compiled from.
        device: what the device says of itself.
        installed: the key of the version it has, NOT_INSTALLED for none.
        now: the time, in seconds since the epoch.
        around: the lists that are known.
        refused: the ids of windows that were asked for this device and had no place.
    """
    asked = _Asked(device, installed, now, around, refused)
    decided: CompiledRelease | None = None
    reason = Reason.NO_RELEASE
    if program.taken_down:
        reason = Reason.GONE if installed == NOT_INSTALLED else Reason.REMOVE
    told = []
    if around.trials is not None and program.id in around.trials:
        trial = find_trial(program, around.trials)
        told.append(_explain_trial(program, trial, around.trials[program.id], installed))
        if told[0].verdict is Verdict.DECIDED and trial is not None:
            decided, reason = trial, _decide(trial, asked)
    for release, author in zip(program.releases, document.releases, strict=True):
        who = list(_explain_who(release, author, asked))
        failed = _find_failure(release, author, asked, who)
        verdict = Verdict.UNREACHED if program.taken_down or decided else Verdict.DECIDED
        if failed is not None and verdict is Verdict.DECIDED:
            verdict = Verdict.FAILED
        if verdict is Verdict.DECIDED:
            decided, reason = release, _decide(release, asked)
        told.append(ReleaseExplanation(release.id, release.path, author.package, release.state, verdict, failed, who))
    return Explanation(
        program=program.id,
        release=None if decided is None else decided.id,
        version=None if decided is None else format_version(decided.version),
        reason=reason,
        installed=None if installed == NOT_INSTALLED else format_version(installed),
        now=now,
        releases=told,
    )


def _explain_trial(
    program: CompiledProgram, trial: CompiledRelease | None, version: int, installed: int
) -> ReleaseExplanation:
    """Step 2: what the device's trial of a program gives, as if it stood above all releases."""
    path, given = "$.trials" if trial is None else trial.path, format_version(version)
    failed = None
    if trial is None:
        failed = Failure(2, path, "trial", "in", [format_version(one) for one in program.trials], given, given)
    elif installed > version:
        seen = format_version(installed)
        failed = Failure(2, path, "installed", "at most", [given], seen, seen)
    verdict = Verdict.DECIDED if failed is None else Verdict.FAILED
    if program.taken_down:
        verdict = Verdict.UNREACHED
    return ReleaseExplanation(TRIAL_ID, path, given, "live", verdict, failed, [])


def _find_failure(release: CompiledRelease, author: Release, asked: _Asked, who: list[Part]) -> Failure | None:
    """The first step that a release fails, in the contract's order; None where it decides."""
    return (
        _fail_running(release, asked.now)
        or _fail_clients(release, author, asked.device)
        or _fail_when(release, author, asked)
        or _fail_who(release, asked, who)
        or _fail_version(release, author, asked)
    )


def _fail_running(release: CompiledRelease, now: int) -> Failure | None:
    """Step 3."""
    path = release.path
    if release.state != "live":
        return Failure(3, f"{path}.state", "state", "is", ["live"], release.state, release.state)
    if now < release.opens_at:
        return Failure(3, f"{path}.opens_at", "time", "from", [str(release.opens_at)], str(now), str(now))
    if now >= release.closes_at:
        return Failure(3, f"{path}.closes_at", "time", "before", [str(release.closes_at)], str(now), str(now))
    return None


def _fail_clients(release: CompiledRelease, author: Release, device: Device) -> Failure | None:
    """Step 4."""
    if release.clients is None or admits(release.clients, device):
        return None
    path, clients = f"{release.path}.clients", author.clients or {}
    if device.platform not in clients:
        return Failure(4, path, "platform", "in", list(clients), device.platform, device.platform)
    ends, seen = clients[device.platform], _show(choose_reader("app")(device.app or ""))
    wanted = [ends.min or "any", ends.max or "any"]
    return Failure(4, f"{path}.{device.platform}", "app", "between", wanted, device.app, seen)


def _fail_when(release: CompiledRelease, author: Release, asked: _Asked) -> Failure | None:
    """Step 5: the first condition, in the author's order, that does not hold."""
    for i, condition in enumerate(release.conditions):
        said = _read_said(condition.attribute, asked.device, asked.installed)
        fact = None if said is None else choose_reader(condition.attribute)(said)
        if not condition.holds(fact):
            written, seen = author.when[i], _show(fact)
            shown = said if isinstance(said, str) else seen
            return Failure(5, release.locate(i), condition.attribute, written.op, list(written.values), shown, seen)
    return None


def _read_said(attribute: str, device: Device, installed: int) -> str | int | None:
    """What a device says as an attribute, as the sheet gathers it."""
    if attribute == "installed":
        return installed
    if attribute.startswith(TAG_PREFIX):
        return (device.tags or {}).get(attribute.removeprefix(TAG_PREFIX))
    said: str | None = getattr(device, attribute)
    return said


def _show(fact: Fact) -> str | None:
    return format_version(fact) if isinstance(fact, int) else fact


def _fail_who(release: CompiledRelease, asked: _Asked, who: list[Part]) -> Failure | None:
    """Step 6."""
    if release.official or is_covered(release, asked.device, asked.now, asked.around):
        return None
    window = release.window
    if window is not None:
        place = find_place(release, window, asked.device, asked.installed, asked.now, asked.around)
        if place is Place.MEMBER or (place is Place.OPEN and window.id not in asked.refused):
            return None
    return Failure(6, f"{release.path}.who", "who", "any of", [part.kind for part in who])


def _fail_version(release: CompiledRelease, author: Release, asked: _Asked) -> Failure | None:
    """Step 8."""
    if asked.installed <= release.version or asked.installed in release.rollback_from:
        return None
    seen = format_version(asked.installed)
    sources = author.rollback.versions if author.rollback else []
    if sources:
        return Failure(8, f"{release.path}.rollback.from", "installed", "in", list(sources), seen, seen)
    return Failure(8, f"{release.path}.package", "installed", "at most", [author.package], seen, seen)


def _decide(release: CompiledRelease, asked: _Asked) -> Reason:
    """Steps 7 and 8, of a release that has failed nothing."""
    window = release.window
    if window is not None and not (release.official or is_covered(release, asked.device, asked.now, asked.around)):
        place = find_place(release, window, asked.device, asked.installed, asked.now, asked.around)
        if place is Place.OPEN:
            return Reason.ASK
    if asked.installed == release.version:
        return Reason.CURRENT
    return Reason.INSTALL if asked.installed < release.version else Reason.ROLLBACK


def _explain_who(release: CompiledRelease, author: Release, asked: _Asked) -> Iterator[Part]:
    """The parts of a *who*, in the order in which they are asked."""
    who, path, user = author.who, f"{release.path}.who", asked.device.user
    if who is None:
        return
    if who.users:
        is_named = user in release.users
        why = "the user is named" if is_named else _tell_user(user, "is not named")
        yield Part("users", f"{path}.users", _stand(is_inside=is_named), why)
    if release.percent and who.percent:
        yield _explain_percent(release.percent, who.percent, f"{path}.percent", asked)
    for i, name in enumerate(who.audiences or ()):
        yield _explain_audience(name, f"{path}.audiences[{i}]", user, asked.around)
    if release.window:
        yield _explain_window(release, release.window, f"{path}.window", asked)


def _stand(*, is_inside: bool) -> Standing:
    return Standing.INSIDE if is_inside else Standing.OUTSIDE


def _tell_user(user: str | None, otherwise: str) -> str:
    return f"the user {otherwise}" if user else "the device says no user"


def _explain_percent(percent: CompiledPercent, author: Percent, path: str, asked: _Asked) -> Part:
    parts = next((step.parts for step in reversed(author.steps) if step.at <= asked.now), author.parts)
    identity = asked.device.user if percent.by_user else asked.device.id
    if not identity:
        return Part("percent", path, Standing.OUTSIDE, _tell_user(None, ""), parts=parts)
    hash_ = compute_hash(percent.salt, identity)
    bucket, is_inside = find_bucket(hash_), hash_ < percent.find_limit(asked.now)
    whose = "user" if percent.by_user else "device"
    compared = "is below" if is_inside else "is not below"
    why = f"the {whose}'s bucket {bucket:,} {compared} {parts:,} of 1,000,000"
    return Part("percent", path, _stand(is_inside=is_inside), why, bucket=bucket, parts=parts)


def _explain_audience(name: str, path: str, user: str | None, around: Circumstances) -> Part:
    if name not in around.audiences:
        return Part("audience", path, Standing.UNKNOWN, "no such audience is known here", name)
    is_inside = bool(user) and is_listed((name,), user or "", around.audiences)
    why = "the user is on the list" if is_inside else _tell_user(user, "is not on the list")
    return Part("audience", path, _stand(is_inside=is_inside), why, name)


def _explain_window(release: CompiledRelease, window: CompiledWindow, path: str, asked: _Asked) -> Part:
    place = find_place(release, window, asked.device, asked.installed, asked.now, asked.around)
    why = _tell_place(place, release, window, asked)
    if place is Place.OPEN:
        is_refused = window.id in asked.refused
        return Part("window", path, Standing.OUTSIDE if is_refused else Standing.ASK, why, window.id)
    identity = asked.device.user if window.proven else asked.device.id
    is_unknown = place is Place.SHUT and window.id not in asked.around.windows and bool(identity)
    return Part(
        "window", path, Standing.UNKNOWN if is_unknown else _stand(is_inside=place is Place.MEMBER), why, window.id
    )


def _tell_place(place: Place, release: CompiledRelease, window: CompiledWindow, asked: _Asked) -> str:  # noqa: C901, PLR0911 - one sentence a case, in find_place's order
    """Why somebody stands to a window as `find_place` says."""
    if asked.installed == release.version:
        return "not asked: the device has the version already"
    if asked.installed > release.version and asked.installed not in release.rollback_from:
        return "not asked: the device has a higher version"
    if window.proven and not asked.around.is_proven:
        return "not asked: the user is not proven"
    if window.proven and not asked.device.user:
        return _tell_user(None, "")
    if window.id not in asked.around.windows:
        return "no such window is known here: nobody new is admitted"
    if place is Place.MEMBER:
        return "admitted before, and stays so"
    if asked.now < window.opens_at:
        return f"not open before {window.opens_at}"
    if asked.now >= window.closes_at:
        return f"closed at {window.closes_at}"
    if place is Place.OPEN:
        if window.id in asked.refused:
            return "asked, and there was no place"
        return f"open until {window.closes_at}: it has to be asked for one of {window.limit:,} places"
    return f"no place is left of {window.limit:,}, or nobody new is admitted now"
