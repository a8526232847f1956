"""Conditions: what each operator accepts, how what is said becomes a fact, and what an absent one satisfies."""

import unicodedata
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruleset import condition as module
from ruleset.condition import CompiledCondition, compile_condition, fold, read_text, read_version
from ruleset.errors import DocumentError
from ruleset.model import Condition
from ruleset.version import parse_version

PATH = "$.releases[0].when[0]"
TEXT_OPS = ["in", "not_in", "contains", "prefix"]
VERSION_OPS = ["in", "not_in", "between", "outside"]

versions = st.builds("{}.{}".format, st.integers(0, 9), st.integers(0, 9))
words = st.text("abc", min_size=1, max_size=3)


def compile_one(attribute: str, op: Any, *values: str) -> CompiledCondition:
    return compile_condition(Condition(attribute, op, list(values)), PATH)


def holds(attribute: str, op: str, values: list[str], said: str | None) -> bool:
    """Asks a condition of what a device says of its attribute, None for nothing."""
    read = read_version if attribute in ("os", "app", "installed") else read_text
    return compile_one(attribute, op, *values).holds(None if said is None else read(said))


@pytest.mark.parametrize(
    ("op", "values", "fact", "expected"),
    [
        ("in", ["a", "b"], "b", True),
        ("in", ["a", "b"], "c", False),
        ("in", ["abc"], "b", False),
        ("not_in", ["a", "b"], "b", False),
        ("not_in", ["a", "b"], "c", True),
        ("contains", ["x", "b"], "abc", True),
        ("contains", ["x", "y"], "abc", False),
        ("contains", ["abcd"], "abc", False),
        ("prefix", ["x", "ab"], "abc", True),
        ("prefix", ["b"], "abc", False),
        ("prefix", ["abc"], "abc", True),
        ("prefix", ["abcd"], "abc", False),
    ],
)
@pytest.mark.parametrize("attribute", ["model", "manufacturer", "city", "region", "country", "locale", "tags.ring"])
def test_text_operators(attribute: str, op: str, values: list[str], fact: str, *, expected: bool) -> None:
    """Any of the values will do; `in` takes whole texts, `contains` a part, `prefix` the beginning."""
    assert holds(attribute, op, values, fact) is expected


@pytest.mark.parametrize(
    ("op", "values", "fact", "expected"),
    [
        ("in", ["1.2", "3"], "3.0.0.0", True),
        ("in", ["1.2", "3"], "3.0.0.1", False),
        ("in", ["1.2", "3.*"], "2.65535.65535.65535", False),
        ("in", ["1.2", "3.*"], "3", True),
        ("in", ["1.2", "3.*"], "3.65535.65535.65535", True),
        ("in", ["1.2", "3.*"], "4", False),
        ("in", ["1.2", "3.*"], "1.2", True),
        ("not_in", ["1.2", "3"], "3", False),
        ("not_in", ["1.2", "3"], "3.1", True),
        ("not_in", ["1.2", "3.*"], "3.1", False),
        ("not_in", ["1.2", "3.*"], "4", True),
        ("between", ["12", "14"], "11.65535.65535.65535", False),
        ("between", ["12", "14"], "12", True),
        ("between", ["12", "14"], "14", True),
        ("between", ["12", "14"], "14.0.0.1", False),
        ("between", ["12", "14.*"], "14.65535.65535.65535", True),
        ("between", ["12", "14.*"], "15", False),
        ("between", ["12.*", "14"], "12", True),
        ("between", ["12", "12"], "12", True),
        ("between", ["9", "10"], "9.5", True),
        ("between", ["0", "65535.*"], "0", True),
        ("between", ["0", "65535.*"], "65535.65535.65535.65535", True),
        ("outside", ["12", "14"], "11.65535.65535.65535", True),
        ("outside", ["12", "14"], "12", False),
        ("outside", ["12", "14"], "14", False),
        ("outside", ["12", "14"], "14.0.0.1", True),
    ],
)
@pytest.mark.parametrize("attribute", ["os", "app", "installed"])
def test_version_operators(attribute: str, op: str, values: list[str], fact: str, *, expected: bool) -> None:
    """Versions compare as numbers, both ends of a range are inside, and a star is all that begins so."""
    assert holds(attribute, op, values, fact) is expected


@pytest.mark.parametrize("op", TEXT_OPS)
@pytest.mark.parametrize("fact", [None, "", " \t\u3000"])
@pytest.mark.parametrize("attribute", ["model", "manufacturer", "city", "region", "country", "locale", "tags.ring"])
def test_an_absent_text_satisfies_nothing(attribute: str, fact: str | None, op: str) -> None:
    """A text that is absent, empty or blank satisfies no condition, `not_in` included."""
    assert holds(attribute, op, ["a"], fact) is False


@pytest.mark.parametrize("op", VERSION_OPS)
@pytest.mark.parametrize("fact", [None, "", "unknown", "1.2.3.4.5", "65536", " 1"])
@pytest.mark.parametrize("attribute", ["os", "app"])
def test_an_unreadable_version_satisfies_nothing(attribute: str, fact: str | None, op: str) -> None:
    """A version that is absent or cannot be read satisfies no condition, `not_in` and `outside` included."""
    assert holds(attribute, op, ["7", "8"], fact) is False


@pytest.mark.parametrize("op", VERSION_OPS)
def test_a_program_that_is_not_installed_satisfies_nothing(op: str) -> None:
    """Without an installed version no condition on it holds, the negated ones included."""
    assert holds("installed", op, ["7", "8"], None) is False


@pytest.mark.parametrize("op", TEXT_OPS)
def test_an_absent_network_satisfies_nothing(op: str) -> None:
    """A device that does not name its network satisfies no condition on it."""
    assert holds("network", op, ["wifi"], None) is False


def test_the_lowest_version_is_not_an_absent_one() -> None:
    """Version 0 has the key 0, which is a fact like any other."""
    assert holds("installed", "in", ["0"], "0") is True
    assert holds("os", "not_in", ["1"], "0") is True


@pytest.mark.parametrize("generation", ["cellular", "2g", "3g", "4g", "5g"])
def test_cellular_covers_every_generation(generation: str) -> None:
    """`cellular` in a condition means all mobile networks, in whatever case it is written."""
    assert holds("network", "in", ["cellular"], generation) is True
    assert holds("network", "in", [" Cellular "], generation) is True
    assert holds("network", "not_in", ["cellular"], generation) is False


@pytest.mark.parametrize("network", ["wifi", "other"])
def test_cellular_covers_no_other_network(network: str) -> None:
    """Wi-Fi and what is neither are outside of `cellular`."""
    assert holds("network", "in", ["cellular"], network) is False
    assert holds("network", "not_in", ["cellular"], network) is True


def test_a_generation_covers_itself_alone() -> None:
    """`5g` in a condition is neither `4g` nor a device that only knows that it is on a mobile network."""
    assert holds("network", "in", ["5g"], "5g") is True
    assert holds("network", "in", ["5g"], "4g") is False
    assert holds("network", "in", ["5g"], "cellular") is False


def test_cellular_is_a_word_like_others_elsewhere() -> None:
    """Only the network has generations: a model called cellular is no model called 5g."""
    assert holds("model", "in", ["cellular"], "5g") is False


def test_a_platform_is_a_text() -> None:
    """The platform is asked for like any other text."""
    assert holds("platform", "in", ["Harmony"], "harmony") is True
    assert holds("platform", "in", ["Harmony"], "ios") is False
    assert holds("platform", "not_in", ["harmony"], "harmony") is False


@pytest.mark.parametrize("op", ["in", "contains", "prefix"])
def test_both_sides_are_folded(op: str) -> None:
    """The document's text and the device's are folded alike before they meet."""
    assert holds("model", op, [" MI 10 "], "mi 10") is True
    assert holds("model", op, ["mi 10"], "\tMi\u00a010 ") is True
    assert holds("tags.ring", op, ["BETA"], "beta ") is True


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        (" a b\n", "a b"),
        ("MI 10", "mi 10"),
        ("STRASSE", "strasse"),
        ("stra\u00dfe", "strasse"),
        ("\uff21\uff22", "ab"),
        ("\u210c", "h"),
        ("e\u0301", "\u00e9"),
        ("\u2460", "1"),
        ("\u5317\u4eac", "\u5317\u4eac"),
        ("", ""),
        ("\u3000", ""),
    ],
)
def test_folds_of_some_texts(text: str, folded: str) -> None:
    """Text is trimmed, then NFKC, then case-folded: an H of another alphabet is composed before its case is."""
    assert fold(text) == folded


def test_text_is_trimmed_before_it_is_composed() -> None:
    """The blank into which NFKC takes a free-standing accent stays; every implementation must do the same."""
    assert fold("\u00a8") == " \u0308"


@pytest.mark.parametrize("text", ["\u00a8", "\u0130\U00010a39", "\u1f86\u0308"])
def test_folding_twice_is_not_folding_once(text: str) -> None:
    """Blanks and marks that the first fold brings out are moved by a second one, so fold what was said, once."""
    assert fold(fold(text)) != fold(text)


@given(st.text(st.characters(max_codepoint=0x7F) | st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF)))
def test_folding_ascii_and_chinese_twice_is_folding_once(text: str) -> None:
    """Where a text has neither free-standing accents nor marks, a folded one folds to itself."""
    assert fold(fold(text)) == fold(text)


@given(st.text(max_size=20))
def test_a_composed_text_and_its_parts_fold_alike(text: str) -> None:
    """Two spellings that Unicode holds for equal are one text, whichever of them a keyboard makes."""
    assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text))


def test_folded_texts_are_remembered_in_bounds() -> None:
    """A client that makes up texts takes the memory of so many of them, and no more."""
    assert fold.cache_info().maxsize == module.MAX_REMEMBERED == 65_536


@pytest.mark.parametrize(
    ("text", "fact"), [("MI 10 ", "mi 10"), ("0", "0"), ("", None), (" \t\u3000", None), ("\u00a8", " \u0308")]
)
def test_a_text_is_a_fact_folded(text: str, fact: str | None) -> None:
    """What was said is folded once; nothing but blanks is nothing said."""
    assert read_text(text) == fact


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("0", 0),
        ("0.0.0.1", 1),
        ("14", 14 << 48),
        ("65535.65535.65535.65535", (1 << 64) - 1),
        ("", None),
        ("unknown", None),
        ("65536", None),
        ("1.2.3.4.5", None),
        ("14.*", None),
        (" 1", None),
    ],
)
def test_a_version_is_a_fact_by_its_key(text: str, fact: int | None) -> None:
    """A version that can be read is its key, zero included; one that cannot is absent, and nothing is raised."""
    assert read_version(text) == fact


@pytest.mark.parametrize("fact", ["a", "z", 0, 7])
@pytest.mark.parametrize("negated", [False, True])
def test_a_condition_holds_inside_or_negated_outside(*, fact: str | int, negated: bool) -> None:
    """Of a fact that is there, it says whether it is among what is accepted, or, negated, whether it is not."""
    condition = CompiledCondition("model", frozenset({"a", 0}), negated)
    assert condition.holds(fact) is ((fact in ("a", 0)) != negated)


@pytest.mark.parametrize("negated", [False, True])
def test_an_absent_fact_is_not_looked_up(*, negated: bool) -> None:
    """None satisfies nothing, even where it were among what is accepted."""
    assert CompiledCondition("model", frozenset({None}), negated).holds(None) is False


@pytest.mark.parametrize("attribute", ["colour", "", "tags.", "tags", "Model", "model ", "tag.ring", "user", "id"])
def test_an_unknown_attribute_is_refused(attribute: str) -> None:
    """The attributes are a closed set, spelled exactly; only tags have names of their own."""
    with pytest.raises(DocumentError) as caught:
        compile_one(attribute, "in", "x")
    assert str(caught.value) == (
        "$.releases[0].when[0].attribute: expected one of model, manufacturer, network, city, region, country, locale, "
        f"platform, os, app, installed, tags.<name>, got {attribute!r}"
    )


@pytest.mark.parametrize("op", ["between", "outside"])
@pytest.mark.parametrize("attribute", ["model", "network", "platform", "tags.ring"])
def test_a_text_has_no_range(attribute: str, op: str) -> None:
    """Operators of versions are refused for texts."""
    with pytest.raises(DocumentError) as caught:
        compile_one(attribute, op, "1", "2")
    assert str(caught.value) == (
        f"$.releases[0].when[0].op: expected one of in, not_in, contains, prefix for {attribute}, got {op}"
    )


@pytest.mark.parametrize("op", ["contains", "prefix"])
@pytest.mark.parametrize("attribute", ["os", "app", "installed"])
def test_a_version_has_no_parts_of_text(attribute: str, op: str) -> None:
    """Operators of texts are refused for versions: 1 is no prefix of 10."""
    with pytest.raises(DocumentError) as caught:
        compile_one(attribute, op, "1")
    assert str(caught.value) == (
        f"$.releases[0].when[0].op: expected one of in, not_in, between, outside for {attribute}, got {op}"
    )


@pytest.mark.parametrize("op", TEXT_OPS)
def test_a_blank_value_is_refused(op: str) -> None:
    """A text of blanks would be in every text; it is refused by its place."""
    with pytest.raises(DocumentError) as caught:
        compile_one("model", op, "a", " \u3000")
    assert str(caught.value) == "$.releases[0].when[0].values[1]: expected text, got nothing but blanks"


@pytest.mark.parametrize("op", VERSION_OPS)
def test_a_value_that_is_no_version_is_refused(op: str) -> None:
    """A version attribute takes versions, and the one that is none is named by its place."""
    with pytest.raises(DocumentError) as caught:
        compile_one("os", op, "1", "fourteen")
    assert str(caught.value) == (
        "$.releases[0].when[0].values[1]: expected a version of 1 to 4 numeric parts, got 'fourteen'"
    )


@pytest.mark.parametrize("op", ["between", "outside"])
@pytest.mark.parametrize("values", [["1"], ["1", "2", "3"]])
def test_a_range_has_two_ends(op: str, values: list[str]) -> None:
    """One version or three make no range."""
    with pytest.raises(DocumentError) as caught:
        compile_one("os", op, *values)
    expected = f"$.releases[0].when[0].values: expected two versions, both ends included, got {len(values)}"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        (["14.0.0.1", "14"], "14.0.0.1 to 14.0.0.0"),
        (["15", "14.*"], "15.0.0.0 to 14.65535.65535.65535"),
        (["10", "9"], "10.0.0.0 to 9.0.0.0"),
    ],
)
@pytest.mark.parametrize("op", ["between", "outside"])
def test_an_empty_range_is_refused(op: str, ends: list[str], shown: str) -> None:
    """A range whose ends are the wrong way round would hold for nobody, or for everybody."""
    with pytest.raises(DocumentError) as caught:
        compile_one("os", op, *ends)
    assert str(caught.value) == f"$.releases[0].when[0].values: expected a range that is not empty, got {shown}"


@pytest.mark.parametrize("op", ["in", "not_in"])
@pytest.mark.parametrize(
    ("attribute", "values", "place", "expected"),
    [
        ("network", ["wifi", "6g"], 1, "expected one of wifi, 2g, 3g, 4g, 5g, cellular, other, got '6g'"),
        ("network", ["WLAN"], 0, "expected one of wifi, 2g, 3g, 4g, 5g, cellular, other, got 'wlan'"),
        ("network", ["wifi "], None, ""),
        ("network", ["wifi", "2g", "3g", "4g", "5g", "Cellular", "other"], None, ""),
        ("platform", ["ios", "android", "windows"], 2, "expected one of android, ios, harmony, got 'windows'"),
        ("platform", ["\x1b"], 0, "expected one of android, ios, harmony, got '\\x1b'"),
        ("platform", ["iOS", "Android", "harmony"], None, ""),
    ],
)
def test_a_value_that_no_device_can_have_is_refused(
    *, attribute: str, op: str, values: list[str], place: int | None, expected: str
) -> None:
    """Networks and platforms are closed sets: one that is none is named by its place; case and blanks do not matter."""
    if place is None:
        assert isinstance(compile_one(attribute, op, *values).accepted, frozenset)
        return
    with pytest.raises(DocumentError) as caught:
        compile_one(attribute, op, *values)
    assert str(caught.value) == f"{PATH}.values[{place}]: {expected}"


@pytest.mark.parametrize("op", ["contains", "prefix"])
@pytest.mark.parametrize(("attribute", "part"), [("network", "g"), ("platform", "harm")])
def test_a_part_of_a_closed_set_is_any_text(attribute: str, op: str, part: str) -> None:
    """A part of a network or a platform is none itself, and may be asked for."""
    assert part in compile_one(attribute, op, part).accepted


def test_other_texts_are_no_closed_set() -> None:
    """Only networks and platforms are: a model or a tag may have any name."""
    for attribute in ("model", "city", "tags.network"):
        assert compile_one(attribute, "in", "6g").accepted == frozenset({"6g"})


@pytest.mark.parametrize(
    ("attribute", "op", "values", "negated"),
    [
        ("model", "in", ["MI 10"], False),
        ("model", "not_in", ["MI 10"], True),
        ("model", "contains", ["MI"], False),
        ("model", "prefix", ["MI"], False),
        ("os", "in", ["1", "2"], False),
        ("os", "not_in", ["1", "2.*"], True),
        ("os", "between", ["1", "2"], False),
        ("os", "outside", ["1", "2"], True),
    ],
)
def test_a_compiled_condition_says_what_it_asks(*, attribute: str, op: str, values: list[str], negated: bool) -> None:
    """What is compiled says whose fact it asks for, and whether it should be outside of what is accepted."""
    compiled = compile_one(attribute, op, *values)
    assert (compiled.attribute, compiled.negated) == (attribute, negated)


@pytest.mark.parametrize("attribute", ["tags.Ring", "tags.ring ", "tags.tags.b", "tags.model", "tags.\u00c4"])
def test_a_tags_name_is_exact(attribute: str) -> None:
    """A tag's name is no text for people: it is kept as it is written, dots, blanks and case included."""
    assert compile_one(attribute, "in", "x").attribute == attribute


def test_equal_conditions_are_one_object() -> None:
    """Conditions that ask the same are shared, wherever they stand; what differs in anything is not."""
    shared = compile_one("model", "in", "a", "b")
    assert compile_condition(Condition("model", "in", ["a", "b"]), "$.elsewhere") is shared
    others = [
        compile_one("model", "in", "a"),
        compile_one("model", "not_in", "a", "b"),
        compile_one("city", "in", "a", "b"),
    ]
    assert all(other != shared for other in others)


@pytest.mark.parametrize(
    ("attribute", "op", "values", "others"),
    [
        ("model", "in", ["a", "b"], ["B ", "a", "A"]),
        ("tags.ring", "not_in", ["a", "b"], ["b", "a"]),
        ("network", "in", ["cellular"], ["5g", "cellular"]),
        ("model", "contains", ["A"], [" a"]),
        ("os", "in", ["1.0", "2"], ["2.0.0.0", "1"]),
        ("os", "between", ["1.*", "2"], ["1", "2.0"]),
    ],
)
def test_conditions_that_accept_the_same_are_equal(
    attribute: str, op: str, values: list[str], others: list[str]
) -> None:
    """However the values are written, conditions of one attribute that accept the same are equal, and hash alike."""
    one, other = compile_one(attribute, op, *values), compile_one(attribute, op, *others)
    assert one == other
    assert hash(one) == hash(other)


def test_equal_conditions_are_refused_where_they_stand() -> None:
    """The path of a refused condition is its own, however often the same one was refused elsewhere."""
    for path in ("$.releases[0].when[0]", "$.releases[7].when[3]"):
        with pytest.raises(DocumentError) as caught:
            compile_condition(Condition("os", "prefix", ["1"]), path)
        assert caught.value.path == f"{path}.op"


def test_compiled_conditions_are_remembered_in_bounds() -> None:
    """A publisher that publishes ever new conditions takes the memory of so many of them, and no more."""
    assert module._compile.cache_info().maxsize == module.MAX_REMEMBERED


@pytest.mark.parametrize("name", CompiledCondition.__struct_fields__)
def test_a_compiled_condition_cannot_be_changed(name: str) -> None:
    """No member of a compiled condition can be set."""
    compiled = compile_one("model", "in", "a")
    with pytest.raises(AttributeError, match="immutable"):
        setattr(compiled, name, None)


@pytest.mark.parametrize(
    ("attribute", "op", "values", "member"),
    [
        ("model", "contains", ["a"], "needles"),
        ("model", "prefix", ["a"], "prefixes"),
        ("os", "in", ["1.*"], "ranges"),
    ],
)
def test_what_a_condition_accepts_cannot_be_changed(attribute: str, op: str, values: list[str], member: str) -> None:
    """The collections of accepted values are as fixed as the condition: frozen, of tuples, or frozen sets."""
    accepted = compile_one(attribute, op, *values).accepted
    assert isinstance(getattr(accepted, member), tuple)
    with pytest.raises(FrozenInstanceError):
        setattr(accepted, member, ())


@pytest.mark.parametrize(("attribute", "value"), [("model", "a"), ("os", "1")])
def test_whole_values_are_looked_up_in_a_frozen_set(attribute: str, value: str) -> None:
    """A condition of a thousand models or versions costs one look-up, not a thousand comparisons."""
    assert isinstance(compile_one(attribute, "in", value).accepted, frozenset)


@pytest.mark.parametrize("op", ["contains", "prefix"])
def test_a_text_condition_accepts_no_number(op: str) -> None:
    """A collection of texts says no to whatever is no text, and does not fail."""
    assert 1 not in compile_one("model", op, "1").accepted


@given(st.lists(words, min_size=1, max_size=3), words)
def test_not_in_is_the_opposite_of_in(values: list[str], fact: str) -> None:
    """Of a text that is there, exactly one of `in` and `not_in` holds."""
    assert holds("model", "in", values, fact) is not holds("model", "not_in", values, fact)


@given(versions, versions, versions)
def test_outside_is_the_opposite_of_between(one: str, other: str, fact: str) -> None:
    """Of a version that is there, exactly one of `between` and `outside` holds, and the ends are inside."""
    ends = sorted([one, other], key=parse_version)
    is_between = parse_version(ends[0]) <= parse_version(fact) <= parse_version(ends[1])
    assert holds("os", "between", ends, fact) is is_between
    assert holds("os", "outside", ends, fact) is not is_between


@given(st.lists(versions | versions.map("{}.*".format), min_size=1, max_size=3), versions)
def test_in_is_any_of_the_ranges(values: list[str], fact: str) -> None:
    """A version is in a list where one of its members, taken as a range of its own, has it."""
    is_in = any(holds("os", "between", [value, value], fact) for value in values)
    assert holds("os", "in", values, fact) is is_in
    assert holds("os", "not_in", values, fact) is not is_in


@given(st.sampled_from(TEXT_OPS), st.lists(words, min_size=1, max_size=3), words)
def test_text_operators_are_what_python_says(op: str, values: list[str], fact: str) -> None:
    """Over texts that fold to themselves, the operators are those of strings and lists."""
    expected: dict[str, Callable[[], bool]] = {
        "in": lambda: fact in values,
        "not_in": lambda: fact not in values,
        "contains": lambda: any(value in fact for value in values),
        "prefix": lambda: any(fact.startswith(value) for value in values),
    }
    assert holds("model", op, values, fact) is expected[op]()
