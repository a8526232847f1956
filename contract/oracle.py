"""The naive oracle: what `contract/document.md` and `contract/check.md` say, written down once more, slowly.

It must not know any module of ours, and it must not be clever: versions are tuples of four numbers, every question
walks through the whole document, nothing is remembered. It trusts what it is given: documents and questions that are
well formed. The compiled evaluator and the edge must agree with it; where they do not, one of the three is wrong.
"""

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from xxhash import xxh32

Json = dict[str, Any]
Version = tuple[int, int, int, int]

CELLULAR = ("cellular", "2g", "3g", "4g", "5g")
VERSION_ATTRIBUTES = ("os", "app", "installed")
POLL_AFTER_S = 1800
CONTEXT_ATTRIBUTES = (
    *("user", "platform", "os", "app", "manufacturer", "model"),
    *("network", "city", "region", "country", "locale"),
)
NOTHING: Json = {}
OPAQUE = "opaque"


def decide(
    document: Json, question: Json, program: str, now: int, lists: Json = NOTHING, refused: Collection[str] = ()
) -> Json:
    """Returns `{"release", "reason"}`: the deciding release's id, or None, and one of the six reasons, or `ask`.

    The numbers are those of the steps in `contract/document.md`.

    Args:
        document: the program's.
        question: the device's.
        program: the one of the question's programs to decide.
        now: seconds since 1970.
        lists: what is known beside the document: `audiences`, lists of users by name; `windows`, by id, each with its
            `members` and whether somebody new may ask (`is_open`); `proven`, whether the user was proven; `trials`, the
            version that the user's trials give, by program.
        refused: the ids of windows that were asked and gave no place.
    """
    installed = read_version(question["programs"][program])
    if document.get("taken_down"):  # 1
        return {"release": None, "reason": "gone" if installed is None else "remove"}
    trial = _find_trial(document, program, lists)  # 2
    reason = None if trial is None else _compare(trial, installed)
    if reason is not None:
        return {"release": "trial", "reason": reason}
    for release in document["releases"]:
        if not _admits(release, question, program, now):  # 3 to 5
            continue
        reason = _compare(release, installed)  # 7, 8
        if not _is_meant(release.get("who"), question["device"], now, lists):  # 6, all but the window
            place = _find_place(release, question["device"], reason, now, lists)
            if place == "open" and release["who"]["window"]["id"] not in refused:
                return {"release": release["id"], "reason": "ask"}
            if place != "member":
                continue
        if reason is not None:
            return {"release": release["id"], "reason": reason}
    return {"release": None, "reason": "no_release"}


def answer(
    documents: Iterable[Json] | Mapping[str, Json],
    revision: int,
    root: int,
    question: Json,
    now: int,
    lists: Json = NOTHING,
) -> Json:
    """Returns the whole answer to a check, as `contract/check.md` has it.

    Args:
        documents: the published documents of the workspace, or the same by program.
        revision: the workspace's revision.
        root: the number of its root document.
        question: the device's question, well formed.
        now: seconds since 1970.
        lists: as `decide` takes them, and `switches`, the published switch sets; a window that would have to be asked
            gives no place here.
    """
    known = dict(documents) if isinstance(documents, Mapping) else {one["program"]: one for one in documents}
    updates, unknown, intervals = [], [], []
    for program in question["programs"]:
        if program not in known:
            unknown.append(program)
            continue
        intervals.append(_find_interval(known[program], now))
        update = _update(known[program], question, program, now, lists)
        if update is not None:
            updates.append(update)
    poll_after = spread(min(intervals, default=POLL_AFTER_S), question["device"]["id"], now)
    whole = {"revision": revision, "root": root, "poll_after": poll_after, "updates": updates}
    return {**whole, **({"unknown": unknown} if unknown else {}), **_answer_switches(question, now, lists)}


def fold(text: str) -> str:
    """Returns a text as conditions compare it: trimmed, NFKC, case-folded, in this order."""
    trimmed = text.strip()
    composed = unicodedata.normalize("NFKC", trimmed)
    return composed.casefold()


def read_version(text: str | None) -> Version | None:
    """Returns four numbers, or None where the text is absent or no version."""
    if not text or len(text) > 23:  # noqa: PLR2004 - four parts of five digits and three dots
        return None
    numbers = []
    for part in text.split("."):
        if part == "" or any(letter not in "0123456789" for letter in part) or int(part) > 65535:  # noqa: PLR2004
            return None
        numbers.append(int(part))
    if len(numbers) > 4:  # noqa: PLR2004
        return None
    one, two, three, four = [*numbers, 0, 0, 0][:4]
    return one, two, three, four


def read_ends(text: str) -> tuple[Version, Version]:
    """Returns the lowest and the highest version that a value of a condition stands for."""
    stem = text.removesuffix(".*")
    low = read_version(stem)
    if low is None:
        raise ValueError(f"expected a version or a wildcard, got {text!r}")
    if stem == text:
        return low, low
    given = stem.count(".") + 1
    one, two, three, four = [*low[:given], 65535, 65535, 65535][:4]
    return low, (one, two, three, four)


def bucket(salt: str, identity: str) -> int:
    """Returns the bucket, 0 to 999,999, into which an id falls under a salt."""
    digest = xxh32(salt.encode() + b"\x00" + identity.encode()).digest()
    return int.from_bytes(digest, "big") * 1_000_000 // 2**32


def spread(base: int, device: str, now: int) -> int:
    """Returns seconds until the next check: the base, moved by -10 to +10 percent, the same for one hour."""
    hour = now // 3600
    digest = xxh32(device.encode() + b"\x00" + str(hour).encode()).digest()
    percent = int.from_bytes(digest, "big") % 21 - 10
    return base + (base * percent) // 100


def _find_trial(document: Json, program: str, lists: Json) -> Json | None:
    """Step 2: what the proven user's trial gives, as a release; None where it gives nothing that the document lists."""
    trial = lists.get("trials", {}).get(program) if lists.get("proven") else None
    same = [one for one in document.get("trials", []) if read_version(one) == read_version(trial)]
    return {"id": "trial", "package": same[0]} if trial and same else None


def _admits(release: Json, question: Json, program: str, now: int) -> bool:
    return (
        _is_running(release, now)
        and _is_client_covered(release.get("clients"), question["device"])
        and all(_holds(condition, question, program) for condition in release.get("when", []))
    )


def _find_interval(document: Json, now: int) -> int:
    interval: int = document.get("poll_after", POLL_AFTER_S)
    urgent = document.get("urgent")
    return min(interval, urgent["poll_after"]) if urgent and now < urgent["until"] else interval


def _is_running(release: Json, now: int) -> bool:
    """Step 3."""
    if release.get("state", "live") != "live":
        return False
    opens_at, closes_at = release.get("opens_at"), release.get("closes_at")
    if opens_at is not None and now < opens_at:
        return False
    return closes_at is None or now < closes_at


def _is_client_covered(clients: Json | None, device: Json) -> bool:
    """Step 4."""
    if clients is None:
        return True
    if device["platform"] not in clients:
        return False
    ends = clients[device["platform"]]
    low, high = ends.get("min"), ends.get("max")
    if low is None and high is None:
        return True
    app = read_version(device.get("app"))
    if app is None or (low is not None and app < read_ends(low)[0]):
        return False
    return high is None or app <= read_ends(high)[1]


def _holds(condition: Json, question: Json, program: str) -> bool:
    """Step 5, for one condition."""
    attribute = condition["attribute"]
    if attribute in VERSION_ATTRIBUTES:
        text = question["programs"][program] if attribute == "installed" else question["device"].get(attribute)
        version = read_version(text)
        return version is not None and _holds_for_version(condition, version)
    if attribute.startswith("tags."):
        text = (question["device"].get("tags") or {}).get(attribute[len("tags.") :])
    else:
        text = question["device"].get(attribute)
    return fold(text or "") != "" and _holds_for_text(condition, fold(text))


def _holds_for_version(condition: Json, version: Version) -> bool:
    op = condition["op"]
    ends = [read_ends(value) for value in condition["values"]]
    if op in ("between", "outside"):
        is_inside = ends[0][0] <= version <= ends[1][1]
        return is_inside if op == "between" else not is_inside
    is_named = any(low <= version <= high for low, high in ends)
    return is_named if op == "in" else not is_named


def _holds_for_text(condition: Json, text: str) -> bool:
    op = condition["op"]
    values = [fold(value) for value in condition["values"]]
    if op == "contains":
        return any(value in text for value in values)
    if op == "prefix":
        return any(text.startswith(value) for value in values)
    is_named = text in values
    if condition["attribute"] == "network" and "cellular" in values:
        is_named = is_named or text in CELLULAR
    return is_named if op == "in" else not is_named


def _is_meant(who: Json | None, device: Json, now: int, lists: Json) -> bool:
    """Step 6, all but the window."""
    if who is None:
        return True
    user = device.get("user") or None
    if user is not None and user in (who.get("users") or []):
        return True
    held = [lists.get("audiences", {}).get(name, []) for name in who.get("audiences") or []]
    if user is not None and any(user in users for users in held):
        return True
    percent = who.get("percent")
    if percent is None:
        return False
    identity = device["id"] if percent.get("by", "device") == "device" else user
    return identity is not None and bucket(percent["salt"], identity) < _find_parts(percent, now)


def _find_parts(percent: Json, now: int) -> int:
    reached = [step["parts"] for step in percent.get("steps", []) if step["at"] <= now]
    return int(reached[-1] if reached else percent["parts"])


def _find_place(release: Json, device: Json, reason: str | None, now: int, lists: Json) -> str:
    """How a device stands to the release's window: `member`, `open` or `shut`; `reason` is what would come of it."""
    window = release["who"].get("window")
    if window is None or reason is None:
        return "shut"
    if reason == "current":
        return "member"
    is_proven = window.get("proven", False)
    identity = (device.get("user") or None) if is_proven else device["id"]
    known = lists.get("windows", {}).get(window["id"])
    if known is None or identity is None or (is_proven and not lists.get("proven", False)):
        return "shut"
    if identity in known["members"]:
        return "member"
    return "open" if known["is_open"] and window.get("opens_at", 0) <= now < window["closes_at"] else "shut"


def _compare(release: Json, installed: Version | None) -> str | None:
    """Step 8: the reason, or None where the search goes on."""
    package = read_version(release["package"])
    if package is None:
        raise ValueError(f"expected a version, got {release['package']!r}")
    if installed is None or installed < package:
        return "install"
    if installed == package:
        return "current"
    sources = (release.get("rollback") or {}).get("from", [])
    return "rollback" if installed in [read_version(source) for source in sources] else None


def _update(document: Json, question: Json, program: str, now: int, lists: Json) -> Json | None:
    """What the answer says about one program, None where there is nothing to do or no valid offer."""
    decision = decide(document, question, program, now, lists)
    if decision["reason"] == "ask":
        windows = [one["who"]["window"]["id"] for one in document["releases"] if (one.get("who") or {}).get("window")]
        decision = decide(document, question, program, now, lists, windows)
    reason, offers = decision["reason"], document.get("offers")
    if reason not in ("install", "rollback", "remove") or not offers or offers["expires"] <= now:
        return None
    if reason == "remove":
        return _removal(program, offers.get("remove"))
    given = [*document["releases"], _find_trial(document, program, lists) or NOTHING]
    release = next(one for one in given if one.get("id") == decision["release"])
    offer = offers.get(reason, {}).get(release["package"])
    if not offer:
        return None
    package = document["packages"][release["package"]]
    transfers = _order_transfers(package, question["programs"][program])
    return {"program": program, **_installation(release, package, reason, offer, transfers)}


def _removal(program: str, offer: str | None) -> Json | None:
    if not offer:
        return None
    return {"program": program, "action": "remove", "offer": offer}


def _installation(release: Json, package: Json, action: str, offer: str, transfers: list[Json]) -> Json:
    return {
        "version": release["package"],
        "release": release["id"],
        "action": action,
        "urgency": release.get("urgency", "silent"),
        "download": package.get("download", "any"),
        "install": package.get("install", "open"),
        "size": package["size"],
        "sha256": package["sha256"],
        "signature": package["signature"],
        "offer": offer,
        "transfers": transfers,
        "extra": package.get("extra", {}),
        **({"key": package["key"]} if package.get("key") else {}),
    }


def _order_transfers(package: Json, installed: str) -> list[Json]:
    """Differences from the device's own version, then whole packages; other differences are of no use to it."""
    own = read_version(installed)
    differences, wholes = [], []
    for transfer in package["transfers"]:
        shown = {name: value for name, value in transfer.items() if name != "from_sha256" and value != ""}
        if transfer["format"] == "zstd":
            wholes.append(shown)
        elif own is not None and read_version(transfer["from"]) == own:
            differences.append(shown)
    return differences + wholes


def decide_switch(switch: Json, device: Json, now: int, lists: Json = NOTHING) -> Json:
    """Returns `{"variant", "reason"}` of one switch: the variant's name, or None where there is no value.

    The numbers are those of the steps in `contract/switches.md`.

    Args:
        switch: as the document has it.
        device: what is said of it, as in a check; its id may be empty.
        now: seconds since 1970.
        lists: as `decide` takes them.
    """
    if switch.get("state", "live") == "disabled":  # 1
        return {"variant": None, "reason": "DISABLED"}
    question = {"device": device, "programs": {"": ""}}
    for rule in switch.get("rules", []):  # 2
        if not _admits(rule, question, "", now):  # 3 to 5
            continue
        who = rule.get("who")
        if who is None or _is_meant({**who, "percent": None}, device, now, lists):  # 6
            return {"variant": rule["variant"], "reason": "TARGETING_MATCH"}
        percent = who.get("percent")
        if percent and percent.get("by", "device") == "device" and not device["id"]:
            return {"variant": None, "reason": "TARGETING_KEY_MISSING"}
        if _is_meant(who, device, now, lists):
            return {"variant": rule["variant"], "reason": "SPLIT"}
    has_rules = any(rule.get("state", "live") == "live" for rule in switch.get("rules", []))
    return {"variant": switch["default"], "reason": "UNKNOWN" if has_rules else "STATIC"}  # 7


def read_context(context: Json) -> Json:
    """Returns the device that an OFREP context speaks of, as in a check; its id is empty where there is none."""
    key = context.get("targetingKey") or ""
    device: Json = {"id": key, "platform": "", "tags": {}}
    for name, value in context.items():
        text = _read_attribute(value)
        if name != "targetingKey" and text is not None:
            place = device if name in CONTEXT_ATTRIBUTES else device["tags"]
            place[name] = text
    device["user"] = device.get("user") or key
    return device


def tell_flags(documents: Iterable[Json], context: Json, now: int, lists: Json = NOTHING) -> list[Json]:
    """Returns the `flags` of a bulk answer, as `contract/ofrep.md` has it, by set and key.

    Args:
        documents: the published switch sets of the workspace.
        context: OFREP's, well formed.
        now: seconds since 1970.
        lists: as `decide` takes them.
    """
    device = read_context(context)
    told = []
    for document in sorted(documents, key=lambda one: str(one["switches"])):
        for key, switch in sorted(document.get("flags", {}).items()):
            told.append({"key": key, **_tell_switch(switch, decide_switch(switch, device, now, lists))})
    return told


def _answer_switches(question: Json, now: int, lists: Json) -> Json:
    """What a check's answer says of the switches that the device asks for, but for those that it has already.

    A tag is whatever its server likes: here it is always the same, so that only a device that names it has them.
    """
    wanted = question.get("switches")
    if not wanted or question.get("switches_etag") == OPAQUE:
        return {}
    device = {"tags": {}, **question["device"]}
    told = {
        key: _tell_switch(switch, decide_switch(switch, device, now, lists))
        for document in lists.get("switches", [])
        for key, switch in document.get("flags", {}).items()
        if wanted is True or key in wanted
    }
    return {"switches": dict(sorted(told.items())), "switches_etag": OPAQUE}


def _tell_switch(switch: Json, decision: Json) -> Json:
    variant, reason = decision["variant"], decision["reason"]
    if reason == "TARGETING_KEY_MISSING":
        return {"errorCode": reason, "errorDetails": "expected a targetingKey: a percentage of devices asks for one"}
    if variant is None:
        return {"reason": reason, "variant": ""}
    value = switch["variants"][variant]
    return {"value": float(value) if switch["type"] == "float" else value, "reason": reason, "variant": variant}


def _read_attribute(value: Any) -> str | None:
    """The text of an attribute, None where it has none that a condition could ask for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and value == int(value) and abs(value) < 2**53:
        return str(int(value))
    return value if isinstance(value, str) and len(value) <= 256 else None  # noqa: PLR2004 - characters
