"""Documents: every byte string is a program or a DocumentError with a path, and canonical bytes come back the same."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruleset import document as module
from ruleset.compiler import compile_program
from ruleset.document import MAX_DOCUMENT_BYTES, encode, parse_program
from ruleset.errors import DocumentError
from ruleset.model import Program

Json = dict[str, Any]
Maker = Callable[..., Json]

DIGEST = "0123456789abcdef" * 4

short = st.text(min_size=1, max_size=8)
times = st.integers(0, (1 << 40) - 1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | short,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=5,
)
packages = st.fixed_dictionaries(
    {
        "sha256": st.just(DIGEST),
        "size": st.integers(0, 1 << 30),
        "signature": short,
        "transfers": st.lists(
            st.fixed_dictionaries(
                {"format": st.just("zstd"), "url": short, "size": st.just(1), "sha256": st.just(DIGEST)},
                optional={"from": short, "from_sha256": short},
            ),
            min_size=1,
            max_size=2,
        ),
    },
    optional={
        "permissions": st.dictionaries(short, json_values, max_size=2),
        "extra": st.dictionaries(short, json_values, max_size=2),
        "download": st.sampled_from(["any", "wifi"]),
        "install": st.sampled_from(["open", "preload"]),
    },
)
conditions = st.fixed_dictionaries(
    {"attribute": short, "op": st.sampled_from(["in", "outside"]), "values": st.lists(short, min_size=1, max_size=2)}
)
releases = st.fixed_dictionaries(
    {"id": short, "package": short},
    optional={
        "state": st.sampled_from(["live", "paused", "ended"]),
        "who": st.fixed_dictionaries(
            {},
            optional={
                "users": st.lists(short, min_size=1, max_size=2),
                "percent": st.fixed_dictionaries({"parts": st.integers(0, 1_000_000)}, optional={"salt": short}),
                "window": st.fixed_dictionaries({"limit": st.integers(1, 9), "closes_at": times}),
            },
        ),
        "when": st.lists(conditions, max_size=2),
        "clients": st.dictionaries(
            st.sampled_from(["android", "ios"]), st.fixed_dictionaries({}, optional={"min": short, "max": short})
        ),
        "opens_at": times | st.none(),
        "closes_at": times,
        "urgency": st.sampled_from(["silent", "force"]),
        "rollback": st.fixed_dictionaries({"from": st.lists(short, min_size=1, max_size=2)}),
        "continues": short,
    },
)
documents = st.fixed_dictionaries(
    {
        "format": st.just(1),
        "program": st.sampled_from(["20210001", "2021000000000001"]),
        "packages": st.dictionaries(short, packages, max_size=2),
        "releases": st.lists(releases, max_size=3),
    },
    optional={
        "poll_after": st.integers(0, 86_400),
        "taken_down": st.booleans(),
        "workspace": short,
        "epoch": st.integers(0, 9),
        "revision": st.integers(0, (1 << 53) - 1),
        "offers": st.fixed_dictionaries(
            {"expires": times}, optional={"install": st.dictionaries(short, short, max_size=2), "remove": short}
        ),
    },
)


def refuse(data: bytes) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        parse_program(data)
    return caught.value


def test_an_authors_document_is_read(make_document: Maker, make_package: Maker) -> None:
    """Every member of the author's form arrives where the model has it."""
    transfer = {"format": "dcz", "from": "1", "from_sha256": DIGEST, "url": "u", "size": 3, "sha256": DIGEST}
    release = {
        "id": "r18",
        "package": "2.3.1.0",
        "state": "paused",
        "who": {"users": ["u-1"], "percent": {"parts": 100_000, "by": "user", "salt": "s"}},
        "when": [{"attribute": "os", "op": "between", "values": ["12", "14.*"]}],
        "clients": {"android": {"min": "10.1.68", "max": "11"}},
        "opens_at": 5,
        "closes_at": 7,
        "urgency": "force",
        "rollback": {"from": ["2.3.2.0"]},
        "continues": "r17",
    }
    packages = {"2.3.1.0": make_package(transfers=[transfer], permissions={"a": 1}, extra={"b": [2]})}
    program = parse_program(orjson.dumps(make_document(release, packages=packages, poll_after=300)))
    assert (program.program, program.poll_after) == ("2021000000000001", 300)
    package = program.packages["2.3.1.0"]
    assert (package.permissions, package.extra) == ({"a": 1}, {"b": [2]})
    assert (package.transfers[0].base, package.transfers[0].from_sha256) == ("1", DIGEST)
    read = orjson.loads(encode(program))["releases"][0]
    assert read["who"]["percent"].pop("steps") == []
    assert read.pop("who") == {**release.pop("who"), "audiences": None, "window": None}
    assert read == release


def test_a_published_document_is_read(make_document: Maker) -> None:
    """The publisher's four members are read as well."""
    offers = {"expires": 9, "install": {"2": "i"}, "rollback": {"1": "b"}, "remove": "r"}
    program = parse_program(orjson.dumps(make_document(workspace="demo", epoch=1, revision=812, offers=offers)))
    assert (program.workspace, program.epoch, program.revision) == ("demo", 1, 812)
    assert orjson.loads(encode(program))["offers"] == offers


def test_a_document_has_at_most_a_mebibyte(make_document: Maker) -> None:
    """A document of exactly the bound is read; with one blank more it is refused before it is looked at."""
    data = orjson.dumps(make_document()).ljust(MAX_DOCUMENT_BYTES)
    assert len(data) == 1_048_576
    assert parse_program(data).format == 1
    assert str(refuse(data + b" ")) == "$: expected at most 1048576 bytes, got 1048577"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "Input data was truncated"),
        (b'{"format":1', "Input data was truncated"),
        (b"{format:1}", "JSON is malformed: object keys must be strings (byte 1)"),
        (b"\xef\xbb\xbf{}", "JSON is malformed: invalid character (byte 0)"),
        (b'{"\xff":1}', "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_bytes_that_are_no_json_are_refused(data: bytes, cause: str) -> None:
    """What is no JSON in UTF-8 is refused as a whole, with the cause."""
    assert str(refuse(data)) == f"$: expected a JSON document in UTF-8, got bytes that are none ({cause})"


def test_a_document_and_something_after_it_is_refused(make_document: Maker) -> None:
    """One document is one JSON value, and blanks are all that may follow."""
    data = orjson.dumps(make_document())
    assert parse_program(data + b" \n").format == 1
    assert refuse(data + b"{}").message.startswith("expected a JSON document in UTF-8, got bytes that are none (")


def test_half_a_character_is_refused(make_document: Maker) -> None:
    """An escaped surrogate without its other half is no text, so no id with one is ever hashed."""
    data = orjson.dumps(make_document({"id": "HALF"})).replace(b"HALF", rb"\ud800")
    assert refuse(data).message.startswith("expected a JSON document in UTF-8, got bytes that are none (")


def test_a_document_nested_too_deeply_is_refused(make_document: Maker, make_package: Maker) -> None:
    """A hundred thousand brackets end in an error of ours, not in one of the interpreter."""
    data = orjson.dumps(make_document(packages={"1": make_package(extra={"x": "DEEP"})}))
    deep = b"[" * 100_000 + b"]" * 100_000
    error = refuse(data.replace(b'"DEEP"', deep))
    assert str(error) == "$: expected a program document, got one nested too deeply"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"[]", "$: expected `object`, got `array`"),
        (b"null", "$: expected `object`, got `null`"),
        (b"{}", "$: object missing required field `format`"),
        (b'{"format":1.0}', "$.format: expected `int`, got `float`"),
        (b'{"format":1,"colour":2}', "$: object contains unknown field `colour`"),
        (b'{"format":1,"releases":[{"id":7}]}', "$.releases[0].id: expected `str`, got `int`"),
        (b'{"format":1,"packages":{"1":3}}', "$.packages[...]: expected `object`, got `int`"),
    ],
)
def test_a_member_that_does_not_fit_is_named(data: bytes, text: str) -> None:
    """The error has the JSON path of the member, `$` for the document, and a message in lower case."""
    error = refuse(data)
    assert str(error) == text
    assert f"{error.path}: {error.message}" == text


def test_the_cause_is_not_shown_twice() -> None:
    """The decoder's own exception does not follow ours: the author has a path and a message."""
    assert refuse(b"[]").__cause__ is None
    assert refuse(b"[]").__suppress_context__ is True


def test_canonical_bytes_are_sorted_and_short(make_document: Maker) -> None:
    """Members are sorted at every level, there are no blanks, and text stays UTF-8."""
    program = parse_program(orjson.dumps(make_document(program="20210001", packages={}, workspace="\u5317")))
    assert encode(program) == (
        '{"format":1,"packages":{},"program":"20210001","releases":[],"workspace":"\u5317"}'.encode()
    )


def test_free_members_are_sorted_too(make_document: Maker, make_package: Maker) -> None:
    """Permissions and extras, whose members are the author's, are sorted as well."""
    packages = {"1": make_package(extra={"b": {"d": 1, "c": 2}, "a": 3})}
    assert b'"extra":{"a":3,"b":{"c":2,"d":1}}' in encode(parse_program(orjson.dumps(make_document(packages=packages))))


def test_blanks_and_order_of_members_do_not_matter(make_document: Maker) -> None:
    """Two ways to write one document have the same canonical bytes."""
    document = make_document({"urgency": "force", "who": {"users": ["u"]}})
    other = dict(reversed(document.items()))
    one = encode(parse_program(orjson.dumps(document)))
    assert encode(parse_program(orjson.dumps(other, option=orjson.OPT_INDENT_2))) == one


def test_members_at_their_defaults_are_left_out(make_document: Maker) -> None:
    """An author who spells out the document's defaults signs the same bytes as one who does not."""
    spelled = make_document(taken_down=False, workspace="", epoch=0, revision=0, offers=None)
    program = parse_program(orjson.dumps(spelled))
    assert encode(program) == encode(parse_program(orjson.dumps(make_document())))
    assert set(orjson.loads(encode(program))) == {"format", "program", "packages", "releases"}


def test_equal_programs_have_equal_bytes(make_document: Maker) -> None:
    """A poll interval that is spelled out and is the default makes no other document."""
    spelled = parse_program(orjson.dumps(make_document(poll_after=1_800)))
    silent = parse_program(orjson.dumps(make_document()))
    assert spelled == silent
    assert encode(spelled) == encode(silent)
    assert b"poll_after" not in encode(spelled)


@pytest.mark.parametrize(
    ("member", "value"),
    [("poll_after", 1_801), ("poll_after", 0), ("taken_down", True), ("workspace", "w"), ("epoch", 1), ("revision", 1)],
)
def test_members_beside_their_defaults_are_kept(make_document: Maker, member: str, value: object) -> None:
    """What is not the default is signed, be it the nearest to it or another default's value."""
    assert orjson.loads(encode(parse_program(orjson.dumps(make_document(**{member: value})))))[member] == value


@given(documents)
def test_canonical_bytes_come_back_the_same(document: Json) -> None:
    """Reading canonical bytes gives the same program, and that the same bytes."""
    program = parse_program(orjson.dumps(document))
    data = encode(program)
    assert parse_program(data) == program
    assert encode(parse_program(data)) == data


@given(documents)
def test_canonical_bytes_hold_what_the_author_wrote(document: Json) -> None:
    """Every member that was given is among the canonical ones, unless it has its default."""
    defaults = {"poll_after": 1_800, "taken_down": False, "workspace": "", "epoch": 0, "revision": 0}
    data = orjson.loads(encode(parse_program(orjson.dumps(document))))
    for name in ("poll_after", "taken_down", "workspace", "epoch", "revision"):
        assert data.get(name, defaults[name]) == document.get(name, defaults[name])
    for written, read in zip(document["releases"], data["releases"], strict=True):
        assert {name: read[name] for name in written if name not in {"who", "clients"}} == {
            name: value for name, value in written.items() if name not in {"who", "clients"}
        }


@given(st.binary(max_size=64) | json_values.map(orjson.dumps))
def test_any_bytes_are_a_program_or_a_document_error(data: bytes) -> None:
    """Whatever comes in, there is no other outcome."""
    try:
        program = parse_program(data)
    except DocumentError as error:
        assert error.path.startswith("$")  # noqa: PT017 - both outcomes are right
    else:
        assert isinstance(program, Program)


@given(documents, st.data())
def test_any_change_of_a_document_is_a_program_or_a_document_error(document: Json, data: st.DataObject) -> None:
    """A document with one member replaced by any JSON is read or refused, and what is read can be written."""
    name = data.draw(st.sampled_from(sorted(document)))
    document[name] = data.draw(json_values)
    try:
        program = parse_program(orjson.dumps(document))
    except DocumentError as error:
        assert error.path.startswith("$")  # noqa: PT017 - both outcomes are right
    else:
        assert parse_program(encode(program)) == program


def test_the_bound_is_checked_before_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes over the bound never reach the decoder."""
    monkeypatch.setattr(module._programs, "_decoder", None)
    assert refuse(b"\xff" * (MAX_DOCUMENT_BYTES + 1)).path == "$"


@pytest.mark.parametrize(
    ("release", "path", "message"),
    [
        ({"state": "x - at `y`"}, "$.releases[0].state", "invalid enum value 'x - at `y`'"),
        ({"state": "x - at `$.y`"}, "$.releases[0].state", "invalid enum value 'x - at `$.y`'"),
        ({"a - at `b": 1}, "$.releases[0]", "object contains unknown field `a - at `b`"),
        ({"a` - at `$.b": 1}, "$.releases[0]", "object contains unknown field `a` - at `$.b`"),
        ({"clients": {"x` - at `$.y": {}}}, "$.releases[0].clients", "invalid enum value 'x` - at `$.y'"),
    ],
    ids=["value", "path", "member", "closed", "key"],
)
def test_an_authors_text_does_not_move_the_path(make_document: Maker, release: Json, path: str, message: str) -> None:
    """Only the decoder says where the error is, and the author's text stays in the message."""
    error = refuse(orjson.dumps(make_document(release)))
    assert (error.path, error.message) == (path, message)


def test_a_key_that_does_not_fit_has_a_path(make_document: Maker) -> None:
    """A platform that does not exist is refused at the member that names it."""
    error = refuse(orjson.dumps(make_document({"clients": {"windows": {}}})))
    assert (error.path, error.message) == ("$.releases[0].clients", "invalid enum value 'windows'")


def test_an_authors_control_characters_are_escaped(make_document: Maker) -> None:
    """What an author sends does not reach a terminal as it came."""
    text = str(refuse(orjson.dumps(make_document(**{"\x1b[31m\u5317": 1}))))
    assert text == "$: object contains unknown field `\\x1b[31m\u5317`"


def test_a_long_text_of_an_author_is_cut(make_document: Maker) -> None:
    """A member's name of half a mebibyte does not come back as a message of half a mebibyte."""
    message = refuse(orjson.dumps(make_document(**{"x" * (1 << 19): 1}))).message
    assert message == f"object contains unknown field `{'x' * 469}\u2026"


def read_with(make_document: Maker, make_package: Maker, member: str, value: str) -> Program:
    data = orjson.dumps(make_document({}, packages={"2": make_package(**{member: {"x": "VALUE"}})}))
    return parse_program(data.replace(b'"VALUE"', value.encode()))


@pytest.mark.parametrize("member", ["permissions", "extra"])
@pytest.mark.parametrize(
    "value",
    [str((1 << 64) - 1), str(-(1 << 63)), "1.5", "0.1e-400", "-0", "[" * 250 + "]" * 250],
    ids=["highest", "lowest", "float", "tiny", "zero", "depth"],
)
def test_what_compiles_can_be_written(make_document: Maker, make_package: Maker, member: str, value: str) -> None:
    """Free members up to the bounds that JSON libraries share compile, and their canonical bytes come back the same."""
    program = read_with(make_document, make_package, member, value)
    assert compile_program(program).id == program.program
    assert parse_program(encode(program)) == program


@pytest.mark.parametrize("member", ["permissions", "extra"])
@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (str(1 << 64), "Integer exceeds 64-bit range"),
        (str(-(1 << 63) - 1), "Integer exceeds 64-bit range"),
        ("[" * 251 + "]" * 251, "Recursion limit reached"),
        ("[" * 300 + "]" * 300, "Recursion limit reached"),
    ],
    ids=["high", "low", "deep", "deeper"],
)
def test_what_cannot_be_written_is_refused(
    make_document: Maker, make_package: Maker, member: str, value: str, cause: str
) -> None:
    """Free members beyond those bounds are refused when they are compiled, and by encode, with the cause."""
    program = read_with(make_document, make_package, member, value)
    with pytest.raises(DocumentError) as caught:
        compile_program(program)
    assert str(caught.value) == f"$.packages['2'].{member}: expected plain JSON ({cause})"
    with pytest.raises(DocumentError) as caught:
        encode(program)
    assert str(caught.value) == f"$.packages: expected permissions and extra of plain JSON ({cause})"


def test_what_is_built_too_deep_is_refused(make_document: Maker) -> None:
    """Nesting that ends the interpreter's patience before orjson's is a DocumentError of encode as well."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    program = parse_program(orjson.dumps(make_document()))
    program.packages["1"].extra["x"] = deep
    with pytest.raises(DocumentError, match=r"^\$\.packages: expected permissions and extra of plain JSON \("):
        encode(program)
