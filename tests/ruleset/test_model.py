"""The model: which members there are, their defaults, and both sides of every bound."""

from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest

from ruleset import model
from ruleset.document import parse_program
from ruleset.errors import DocumentError
from ruleset.model import Device

Json = dict[str, Any]
Maker = Callable[..., Json]

DIGEST = "0123456789abcdef" * 4
TRANSFER = {"format": "zstd", "url": "u", "size": 1, "sha256": DIGEST}
CONDITION = {"attribute": "model", "op": "in", "values": ["x"]}
NO_ID = r"expected `str` matching regex '^([0-9]{16}|[0-9]{8})\\Z'"
NO_DIGEST = r": expected `str` matching regex '^[0-9a-f]{64}\\Z'"


def parse(document: Json) -> model.Program:
    return parse_program(orjson.dumps(document))


def refuse(document: Json) -> str:
    with pytest.raises(DocumentError) as caught:
        parse(document)
    return str(caught.value)


@pytest.mark.parametrize(
    ("member", "allowed", "refused", "message"),
    [
        ("format", 1, 2, "invalid enum value 2"),
        ("program", "1" * 16, "1" * 17, NO_ID),
        ("program", "1" * 8, "1" * 9, NO_ID),
        ("program", "0" * 8, "\u0661" * 8, NO_ID),
        ("poll_after", 0, -1, "expected `int` >= 0"),
        ("poll_after", 86_400, 86_401, "expected `int` <= 86400"),
        ("taken_down", True, 1, "expected `bool`, got `int`"),
        ("workspace", "w" * 64, "w" * 65, "expected `str` of length <= 64"),
        ("epoch", 0, -1, "expected `int` >= 0"),
        ("epoch", (1 << 53) - 1, 1 << 53, "expected `int` <= 9007199254740991"),
        ("revision", (1 << 53) - 1, 1 << 53, "expected `int` <= 9007199254740991"),
    ],
)
def test_bounds_of_a_program(make_document: Maker, member: str, allowed: object, refused: object, message: str) -> None:
    """Both sides of each bound of the document itself."""
    assert getattr(parse(make_document(**{member: allowed})), member) == allowed
    assert refuse(make_document(**{member: refused})) == f"$.{member}: {message}"


@pytest.mark.parametrize(("member", "most"), [("releases", 100), ("packages", 200)], ids=str)
def test_a_program_has_so_many_parts(make_document: Maker, make_package: Maker, member: str, most: int) -> None:
    """A document has at most 100 releases and 200 packages."""
    if member == "releases":
        documents = [make_document(*[{}] * count) for count in (most, most + 1)]
        kind = "array"
    else:
        documents = [
            make_document(packages={str(i): make_package() for i in range(count)}) for count in (most, most + 1)
        ]
        kind = "object"
    assert len(getattr(parse(documents[0]), member)) == most
    assert refuse(documents[1]) == f"$.{member}: expected `{kind}` of length <= {most}"


@pytest.mark.parametrize(
    ("member", "allowed", "refused", "message"),
    [
        ("sha256", DIGEST, DIGEST[1:], NO_DIGEST),
        ("sha256", DIGEST, DIGEST + "0", NO_DIGEST),
        ("sha256", DIGEST, DIGEST.upper(), NO_DIGEST),
        ("size", 0, -1, ": expected `int` >= 0"),
        ("size", 1 << 30, (1 << 30) + 1, ": expected `int` <= 1073741824"),
        ("signature", "s", "", ": expected `str` of length >= 1"),
        ("signature", "s" * 8_192, "s" * 8_193, ": expected `str` of length <= 8192"),
        ("transfers", [TRANSFER], [], ": expected `array` of length >= 1"),
        ("transfers", [TRANSFER] * 16, [TRANSFER] * 17, ": expected `array` of length <= 16"),
        (
            "transfers",
            [TRANSFER | {"format": "dcz"}],
            [TRANSFER | {"format": "gz"}],
            "[0].format: invalid enum value 'gz'",
        ),
        ("transfers", [TRANSFER], [TRANSFER | {"url": ""}], "[0].url: expected `str` of length >= 1"),
        (
            "transfers",
            [TRANSFER | {"url": "u" * 2_048}],
            [TRANSFER | {"url": "u" * 2_049}],
            "[0].url: expected `str` of length <= 2048",
        ),
        ("transfers", [TRANSFER | {"size": 0}], [TRANSFER | {"size": -1}], "[0].size: expected `int` >= 0"),
        (
            "transfers",
            [TRANSFER | {"size": 1 << 30}],
            [TRANSFER | {"size": (1 << 30) + 1}],
            "[0].size: expected `int` <= 1073741824",
        ),
        (
            "transfers",
            [TRANSFER],
            [TRANSFER | {"sha256": "x" * 64}],
            f"[0].sha256{NO_DIGEST}",
        ),
        ("transfers", [TRANSFER], [TRANSFER | {"to": "1"}], "[0]: object contains unknown field `to`"),
        (
            "transfers",
            [TRANSFER | {"from": "1" * 64}],
            [TRANSFER | {"from": "1" * 65}],
            "[0].from: expected `str` of length <= 64",
        ),
        (
            "transfers",
            [TRANSFER | {"from_sha256": DIGEST}],
            [TRANSFER | {"from_sha256": DIGEST + "0"}],
            "[0].from_sha256: expected `str` of length <= 64",
        ),
        ("download", "wifi", "5g", ": invalid enum value '5g'"),
        ("install", "preload", "later", ": invalid enum value 'later'"),
        ("permissions", {"camera": True}, [], ": expected `object`, got `array`"),
        ("extra", {"a": [1, None]}, "x", ": expected `object`, got `str`"),
    ],
)
def test_bounds_of_a_package(
    *, make_document: Maker, make_package: Maker, member: str, allowed: object, refused: object, message: str
) -> None:
    """Both sides of each bound of a package and its transfers."""
    package = parse(make_document(packages={"1": make_package(**{member: allowed})})).packages["1"]
    if member != "transfers":
        assert getattr(package, member) == allowed
    text = refuse(make_document(packages={"1": make_package(**{member: refused})}))
    assert text == f"$.packages[...].{member}{message}"


@pytest.mark.parametrize(
    ("member", "allowed", "refused", "message"),
    [
        ("id", "r", "", ": expected `str` of length >= 1"),
        ("id", "r" * 64, "r" * 65, ": expected `str` of length <= 64"),
        ("package", "p", "", ": expected `str` of length >= 1"),
        ("package", "p" * 256, "p" * 257, ": expected `str` of length <= 256"),
        ("state", "live", "done", ": invalid enum value 'done'"),
        ("state", "paused", "", ": invalid enum value ''"),
        ("state", "ended", None, ": expected `str`, got `null`"),
        ("urgency", "silent", "loud", ": invalid enum value 'loud'"),
        ("urgency", "prompt", 1, ": expected `str`, got `int`"),
        ("urgency", "force", "FORCE", ": invalid enum value 'FORCE'"),
        ("opens_at", 0, -1, ": expected `int` >= 0"),
        ("opens_at", (1 << 40) - 1, 1 << 40, ": expected `int` <= 1099511627775"),
        ("closes_at", 0, -1, ": expected `int` >= 0"),
        ("closes_at", (1 << 40) - 1, 1 << 40, ": expected `int` <= 1099511627775"),
        ("continues", "r" * 64, "r" * 65, ": expected `str` of length <= 64"),
        ("continues", None, "", ": expected `str` of length >= 1"),
        ("when", [], {}, ": expected `array`, got `object`"),
        ("when", [CONDITION] * 32, [CONDITION] * 33, ": expected `array` of length <= 32"),
        ("when", [CONDITION], [CONDITION | {"attribute": ""}], "[0].attribute: expected `str` of length >= 1"),
        ("when", [CONDITION], [CONDITION | {"op": "is"}], "[0].op: invalid enum value 'is'"),
        ("when", [CONDITION], [CONDITION | {"values": []}], "[0].values: expected `array` of length >= 1"),
        (
            "when",
            [CONDITION | {"values": ["x"] * 1_000}],
            [CONDITION | {"values": ["x"] * 1_001}],
            "[0].values: expected `array` of length <= 1000",
        ),
        (
            "when",
            [CONDITION | {"values": ["x" * 256]}],
            [CONDITION | {"values": ["y", "x" * 257]}],
            "[0].values[1]: expected `str` of length <= 256",
        ),
        ("when", [CONDITION], [CONDITION | {"not": True}], "[0]: object contains unknown field `not`"),
        ("who", {"users": ["u"]}, {"users": []}, ".users: expected `array` of length >= 1"),
        ("who", {"users": ["u"] * 1_000}, {"users": ["u"] * 1_001}, ".users: expected `array` of length <= 1000"),
        ("who", {"users": ["u" * 256]}, {"users": ["u" * 257]}, ".users[0]: expected `str` of length <= 256"),
        ("who", {"users": ["u"]}, {"users": [""]}, ".users[0]: expected `str` of length >= 1"),
        ("who", {"percent": {"parts": 0}}, {"percent": {"parts": -1}}, ".percent.parts: expected `int` >= 0"),
        (
            "who",
            {"percent": {"parts": 1_000_000}},
            {"percent": {"parts": 1_000_001}},
            ".percent.parts: expected `int` <= 1000000",
        ),
        (
            "who",
            {"percent": {"parts": 1, "by": "user"}},
            {"percent": {"parts": 1, "by": "city"}},
            ".percent.by: invalid enum value 'city'",
        ),
        (
            "who",
            {"percent": {"parts": 1, "salt": "s" * 64}},
            {"percent": {"parts": 1, "salt": "s" * 65}},
            ".percent.salt: expected `str` of length <= 64",
        ),
        ("who", {"audiences": ["a"]}, {"audiences": []}, ".audiences: expected `array` of length >= 1"),
        ("who", {"audiences": ["a"] * 16}, {"audiences": ["a"] * 17}, ".audiences: expected `array` of length <= 16"),
        ("who", {"audiences": ["a" * 64]}, {"audiences": ["a" * 65]}, ".audiences[0]: expected `str` of length <= 64"),
        (
            "who",
            {"window": {"limit": 1, "closes_at": 1}},
            {"window": {"limit": 0, "closes_at": 1}},
            ".window.limit: expected `int` >= 1",
        ),
        (
            "who",
            {"window": {"limit": 1, "closes_at": 1, "per_minute": 1}},
            {"window": {"limit": 1, "closes_at": 1, "per_minute": 0}},
            ".window.per_minute: expected `int` >= 1",
        ),
        ("who", {"users": ["u"]}, {"everybody": True}, ": object contains unknown field `everybody`"),
        ("clients", {"ios": {"min": "1"}}, {"ios": {"min": ""}}, "[...].min: expected `str` of length >= 1"),
        ("clients", {"ios": {}}, {"ios": {"least": "1"}}, "[...]: object contains unknown field `least`"),
        ("rollback", {"from": ["9"]}, {"from": []}, ".from: expected `array` of length >= 1"),
        ("rollback", {"from": ["9"] * 200}, {"from": ["9"] * 201}, ".from: expected `array` of length <= 200"),
        ("rollback", {"from": ["9"]}, {"versions": ["9"]}, ": object contains unknown field `versions`"),
    ],
)
def test_bounds_of_a_release(make_document: Maker, member: str, allowed: object, refused: object, message: str) -> None:
    """Both sides of each bound of a release, of its conditions, and of whom it is for."""
    release = parse(make_document({member: allowed})).releases[0]
    if not isinstance(allowed, dict | list):
        assert getattr(release, member) == allowed
    assert refuse(make_document({member: refused})) == f"$.releases[0].{member}{message}"


@pytest.mark.parametrize(
    ("member", "allowed", "refused", "message"),
    [
        ("expires", 0, -1, ": expected `int` >= 0"),
        ("expires", (1 << 40) - 1, 1 << 40, ": expected `int` <= 1099511627775"),
        ("install", {"1": "t" * 8_192}, {"1": "t" * 8_193}, "[...]: expected `str` of length <= 8192"),
        ("install", {"1": "t"}, {"1": ""}, "[...]: expected `str` of length >= 1"),
        ("rollback", {"1": "t" * 8_192}, {"1": "t" * 8_193}, "[...]: expected `str` of length <= 8192"),
        ("remove", "t" * 8_192, "t" * 8_193, ": expected `str` of length <= 8192"),
    ],
)
def test_bounds_of_the_offers(
    make_document: Maker, member: str, allowed: object, refused: object, message: str
) -> None:
    """Both sides of each bound of what the publisher adds."""
    offers = parse(make_document(offers={"expires": 1, member: allowed})).offers
    assert getattr(offers, member) == allowed
    text = refuse(make_document(offers={"expires": 1, member: refused}))
    assert text == f"$.offers.{member}{message}"


@pytest.mark.parametrize("member", ["format", "program", "packages", "releases"])
def test_members_that_a_program_must_have(make_document: Maker, member: str) -> None:
    """A document without one of these says nothing."""
    document = make_document()
    del document[member]
    assert refuse(document) == f"$: object missing required field `{member}`"


def test_defaults_of_a_program(make_document: Maker) -> None:
    """What an author leaves out has the values that `contract/document.md` gives."""
    program = parse(make_document({}))
    assert (program.poll_after, program.taken_down, program.offers) == (1_800, False, None)
    assert (program.workspace, program.epoch, program.revision) == ("", 0, 0)
    package = program.packages["1"]
    assert (package.permissions, package.extra, package.download, package.install) == ({}, {}, "any", "open")
    assert (package.transfers[0].base, package.transfers[0].from_sha256) == ("", "")
    release = program.releases[0]
    assert (release.state, release.urgency, release.when) == ("live", "silent", [])
    absent = (release.who, release.clients, release.opens_at, release.closes_at, release.rollback, release.continues)
    assert absent == (None,) * 6


@pytest.mark.parametrize(
    ("release", "place"),
    [
        ({"color": 1}, "$.releases[0]"),
        ({"who": {"percent": {"parts": 1, "color": 1}}}, "$.releases[0].who.percent"),
        ({"who": {"window": {"limit": 1, "closes_at": 1, "color": 1}}}, "$.releases[0].who.window"),
        ({"rollback": {"from": ["9"], "color": 1}}, "$.releases[0].rollback"),
    ],
)
def test_a_release_has_no_unknown_members(make_document: Maker, release: Json, place: str) -> None:
    """A misspelled member is refused wherever it stands, rather than read as an absent one."""
    assert refuse(make_document(release)) == f"{place}: object contains unknown field `color`"


def test_packages_and_offers_have_no_unknown_members(make_document: Maker, make_package: Maker) -> None:
    """A misspelled member of a package or of the offers is refused as well."""
    packages = {"1": make_package(color=1)}
    assert refuse(make_document(packages=packages)) == "$.packages[...]: object contains unknown field `color`"
    assert refuse(make_document(offers={"expires": 1, "color": 1})) == "$.offers: object contains unknown field `color`"


def test_defaults_of_a_window(make_document: Maker) -> None:
    """A window is open from the start, without a limit a minute, and takes a device at its word."""
    who = parse(make_document({"who": {"window": {"limit": 3, "closes_at": 9}}})).releases[0].who
    assert who == model.Who(window=model.Window(limit=3, closes_at=9, opens_at=0, per_minute=None, proven=False))


def test_defaults_of_a_percentage(make_document: Maker) -> None:
    """A percentage is by device, and its salt is the publisher's to fill."""
    who = parse(make_document({"who": {"percent": {"parts": 1}}})).releases[0].who
    assert who == model.Who(percent=model.Percent(parts=1, by="device", salt=""))


@pytest.mark.parametrize(
    ("member", "allowed", "refused"),
    [
        ("id", "d" * 256, "d" * 257),
        ("id", "d", ""),
        ("platform", "harmony", "windows"),
        ("platform", "ios", None),
        ("user", "", "u" * 257),
        ("os", "1" * 256, "1" * 257),
        ("app", "", 1),
        ("model", "m" * 256, "m" * 257),
        ("manufacturer", None, []),
        ("network", "cellular", "6g"),
        ("network", None, ""),
        ("city", "", "c" * 257),
        ("region", "", "r" * 257),
        ("country", "", "c" * 257),
        ("locale", "", "l" * 257),
        ("tags", {str(i): "" for i in range(64)}, {str(i): "" for i in range(65)}),
        ("tags", {"t" * 256: "v" * 256}, {"t": "v" * 257}),
        ("tags", {}, {"t" * 257: "v"}),
    ],
)
def test_bounds_of_a_device(member: str, allowed: object, refused: object) -> None:
    """Both sides of each bound of what a device says; texts may be empty, its id may not."""
    members = {"id": "d-1", "platform": "android"}
    assert getattr(msgspec.convert({**members, member: allowed}, Device), member) == allowed
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**members, member: refused}, Device)


def test_a_device_may_say_more_than_is_known() -> None:
    """A newer client may send members that this version does not know; they are ignored."""
    data = b'{"id":"d-1","platform":"ios","battery":7}'
    assert msgspec.json.decode(data, type=Device) == Device("d-1", "ios")


@pytest.mark.parametrize("value", [Device("d-1", "ios"), model.Who(), model.Percent(1), model.Offers(1)], ids=repr)
def test_values_cannot_be_changed(value: msgspec.Struct) -> None:
    """What was read stays as it was read."""
    with pytest.raises(AttributeError, match="immutable"):
        setattr(value, value.__struct_fields__[0], None)


def test_a_line_feed_is_no_part_of_an_id_or_a_digest(make_document: Maker, make_package: Maker) -> None:
    """An id and a digest are exactly their digits: what a pattern's `$` would let through is refused."""
    assert refuse(make_document(program="20210000\n")) == f"$.program: {NO_ID}"
    packages = {"1": make_package(sha256=DIGEST + "\n")}
    assert refuse(make_document(packages=packages)) == f"$.packages[...].sha256{NO_DIGEST}"
    packages = {"1": make_package(transfers=[TRANSFER | {"sha256": DIGEST + "\n"}])}
    assert refuse(make_document(packages=packages)) == f"$.packages[...].transfers[0].sha256{NO_DIGEST}"


@pytest.mark.parametrize("name", ["1", "9" * 256])
def test_the_name_of_a_package_is_within_its_bounds(make_document: Maker, make_package: Maker, name: str) -> None:
    """A name of 1 to 256 characters is read; whether it is a version is the compiler's to say."""
    assert list(parse(make_document(packages={name: make_package()})).packages) == [name]


@pytest.mark.parametrize(("name", "bound"), [("", "length >= 1"), ("9" * 257, "length <= 256")], ids=["none", "long"])
def test_the_name_of_a_package_is_bounded(make_document: Maker, make_package: Maker, name: str, bound: str) -> None:
    """An empty name and one of 257 characters are refused at the member that has it."""
    assert refuse(make_document(packages={name: make_package()})) == f"$.packages: expected `str` of {bound}"
